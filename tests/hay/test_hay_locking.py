"""Waiting for the file lock: how often it is looked for, and by whom not at once."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from haypile.hay import locking
from haypile.hay.locking import GATHER, LOOKS, take


class Lock:
    """A file lock that is taken for the first ``tries``, and what was done meanwhile; a yield takes 10 us."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tries: int, error: int = errno.EAGAIN) -> None:
        self.left, self.error, self.now = tries, error, 0.0
        self.done: list[str] = []
        self.hay: Any = SimpleNamespace(lock_at_once=self.look, lock_fd=7)
        monkeypatch.setattr(locking, "os", SimpleNamespace(sched_yield=self.let_others_run))
        monkeypatch.setattr(locking, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(locking, "wait_for", lambda fd: self.done.append(f"sleep on {fd}"))

    def look(self) -> None:
        self.done.append("look")
        if self.left:
            self.left -= 1
            raise OSError(self.error, "taken")

    def let_others_run(self) -> None:
        self.done.append("yield")
        self.now += 0.00001


@pytest.mark.parametrize("tries", [0, 1, LOOKS - 1])
def test_it_is_looked_for(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    lock = Lock(monkeypatch, tries)
    take(lock.hay)
    assert lock.done == ["look", "yield"] * tries + ["look"]


def test_then_it_is_slept_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(monkeypatch, LOOKS)
    take(lock.hay)
    assert lock.done == ["look", "yield"] * LOOKS + ["sleep on 7"]


def test_who_gathers_leaves_it_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(monkeypatch, 1)
    take(lock.hay, GATHER)
    assert lock.done == ["yield"] * round(GATHER / 0.00001) + ["look", "yield", "look"]


def test_another_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="taken"):
        take(Lock(monkeypatch, 1, errno.EBADF).hay)

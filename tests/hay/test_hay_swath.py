"""A swath: what is laid is there once, whole, for whoever reads the file, whatever happens to its maker."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from haypile.hay import swath
from haypile.hay.errors import OutOfRoom
from haypile.hay.store import Hay
from haypile.hay.swath import ROOM, Swath, forget, lying, note_gathered, own_lying

SESSION = 7
#: Bytes of an entry beside its record.
HEAD = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "7.swath"


def found(hay: Hay, path: Path) -> tuple[int, list[swath.Laid]]:
    with hay.read() as reading:
        return lying(path, reading, SESSION)


def gather(hay: Hay, path: Path, own: Swath | None = None) -> list[swath.Laid]:
    """As the broker does it, but that nothing is put anywhere."""
    with hay.write() as txn:
        upto, laid = lying(path, txn, SESSION)
        note_gathered(txn, SESSION, upto)
        if own is not None:
            txn.on_commit.append(lambda: own.start_anew(upto))
    return laid


def test_what_is_laid_is_found_once(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    assert found(hay, path) == (0, []) and not one.holds
    assert one.lay(3, b"first") and one.lay(4, b"")
    assert one.holds
    assert found(hay, path)[1] == [(3, b"first"), (4, b"")]
    assert gather(hay, path) == [(3, b"first"), (4, b"")]
    assert gather(hay, path) == []
    assert one.lay(3, b"second")
    assert gather(hay, path, one) == [(3, b"second")]
    assert not one.holds
    one.close()


def test_room(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    record = bytes(1000)
    count = ROOM // (len(record) + HEAD)
    assert all(one.lay(1, record) for _ in range(count))
    assert not one.lay(1, record)
    assert one.lay(1, bytes(ROOM - count * (len(record) + HEAD) - HEAD))
    assert not one.lay(1, b"")
    # Somebody else has gathered: there is room once we know.
    assert len(gather(hay, path)) == count + 1
    assert not one.lay(1, b"")
    assert gather(hay, path, one) == []
    assert one.lay(1, record)
    assert gather(hay, path, one) == [(1, record)]
    one.close()


def test_laid_while_others_gather(hay: Hay, path: Path) -> None:
    """At random, against a list."""
    draw = random.Random(5)
    one = Swath(path, 0o600)
    expected: list[swath.Laid] = []
    for _ in range(3000):
        laid = draw.randrange(5), draw.randbytes(draw.randrange(2000))
        if one.lay(*laid):
            expected.append(laid)
        else:
            assert gather(hay, path, one) == expected
            expected = []
        if draw.random() < 0.05:
            assert gather(hay, path, draw.choice((one, None))) == expected
            expected = []
    one.close()


def test_killed_before_it_starts_anew(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    one.lay(1, b"a")
    gather(hay, path)
    one.close()
    assert found(hay, path)[1] == []


@pytest.mark.parametrize("line", range(20))
def test_a_signal_handler_raises_between_two_steps(
    hay: Hay, path: Path, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was in the midst of: what was laid is whole, and what is laid afterwards is found behind it."""
    one = Swath(path, 0o600)
    one.lay(1, b"before")
    words, steps = one._words, 0

    class Words:
        def __getitem__(self, at: int) -> int:
            self.step()
            return words[at]

        def __setitem__(self, at: int, value: int) -> None:
            self.step()
            words[at] = value
            self.step()

        def step(self) -> None:
            nonlocal steps
            steps += 1
            if steps == line + 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(one, "_words", Words())
    laid, interrupted = [(1, b"before")], False
    try:
        one.lay(2, b"interrupted")
        laid += gather(hay, path, one)[1:]
    except KeyboardInterrupt:
        interrupted = True
    monkeypatch.undo()
    assert one.lay(3, b"after")
    assert found(hay, path)[1][-1] == (3, b"after")
    laid = gather(hay, path, one)
    assert [body for _, body in laid if body != b"interrupted"] in ([b"before", b"after"], [b"after"])
    assert one.lay(4, b"later")
    assert gather(hay, path, one) == [(4, b"later")]
    assert interrupted or line > 5
    one.close()


def test_another_session_of_that_number(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    one.lay(1, b"a")
    gather(hay, path)
    with hay.write() as txn:
        forget(txn, SESSION)
    assert found(hay, path)[1] == [(1, b"a")]
    one.close()


@pytest.mark.parametrize("content", [b"", b"x", bytes(64), b"\xff" * 200, None])
def test_a_file_that_is_none(hay: Hay, path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert found(hay, path) == (0, [])


def test_our_own_needs_no_file(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    one.lay(1, b"a")
    path.unlink()
    assert found(hay, path) == (0, [])
    with hay.write() as txn:
        assert own_lying(one, txn, SESSION)[1] == [(1, b"a")]
    one.close()


def test_a_file_cut_short(hay: Hay, path: Path) -> None:
    one = Swath(path, 0o600)
    for _ in range(10):
        one.lay(1, bytes(100))
    one.close()
    os.truncate(path, 64 + 3 * 108 + 50)
    assert [record for _, record in found(hay, path)[1]] == [bytes(100)] * 3


@pytest.mark.parametrize("call", ["open", "posix_fallocate"])
def test_no_room(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC if call == "posix_fallocate" else errno.EMFILE, "no room")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutOfRoom, match=str(path.parent)):
        Swath(path, 0o600)
    monkeypatch.undo()
    assert not path.exists()


def test_no_descriptor_to_look(hay: Hay, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be there must not be taken for nothing."""
    one = Swath(path, 0o600)
    one.lay(1, b"a")

    def full(*_: Any) -> None:
        raise OSError(errno.EMFILE, "no descriptor")

    with hay.read() as reading:
        monkeypatch.setattr(os, "open", full)
        with pytest.raises(OutOfRoom, match="RLIMIT_NOFILE"):
            lying(path, reading, SESSION)
        monkeypatch.undo()
    one.close()

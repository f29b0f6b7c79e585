"""Stores in shared memory, as they are used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haypile.hay.store import Hay


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of ours in shared memory; the vhost's does not exist yet."""
    base = Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/dev/shm"))
    yield base / "vhost"
    shutil.rmtree(base)


@pytest.fixture
def hay(place: Path) -> Iterator[Hay]:
    """An open store."""
    store = Hay.open(place)
    yield store
    store.close()


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], None]], int]]:
    """Runs a function in a forked process: exit status 0, or 1 when it raised."""
    started: list[int] = []

    def start(work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        started.append(pid)
        return pid

    yield start
    for pid in started:
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

"""Who asks for what may have to be waited for: file locks, a disk, another thread, an import.

Owns: the list of such calls made by one thread, each with where it came from.
Must not know: clocks. A call that would not have had to wait this time counts like one that would.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from tests.support.syncs import SYNCS

#: Where a lock that cannot be had at once is waited for: whoever tries for it there is ready to wait.
WAITERS = ("/hay/locking.py", "/hay/writing.py")


class Asked:
    """What one thread has asked for."""

    def __init__(self, counts: Callable[[], bool]) -> None:
        self.calls: list[str] = []
        self._counts = counts
        self._thread = threading.get_ident()
        self._process = os.getpid()
        self._held: set[int] = set()
        self._lockf: Callable[..., None] = fcntl.lockf

    def note(self, what: str) -> None:
        """It is about to, if it is that thread."""
        if self._counts() and threading.get_ident() == self._thread and os.getpid() == self._process:
            frames = [frame for frame in traceback.extract_stack() if "/haypile/" in frame.filename]
            if not frames:
                return
            way = " < ".join(f"{os.path.basename(frame.filename)}:{frame.name}" for frame in reversed(frames))
            self.calls.append(f"{what}: {way}")

    def find_spec(self, name: str, *_: Any) -> None:
        """As the first of ``sys.meta_path``: a module is about to be read from a disk."""
        self.note(f"import {name}")

    def lockf(self, fd: int, command: int, *arguments: Any) -> None:
        """For ``fcntl.lockf``. What the process holds already is not waited for."""
        patient = command == fcntl.LOCK_EX or sys._getframe(1).f_code.co_filename.endswith(WAITERS)
        if patient and command & fcntl.LOCK_EX and fd not in self._held:
            self.note("lockf")
        self._lockf(fd, command, *arguments)
        if command & fcntl.LOCK_EX:
            self._held.add(fd)
        else:
            self._held.discard(fd)


@contextmanager
def asked(counts: Callable[[], bool]) -> Iterator[Asked]:
    """What this thread asks for in the block, while it ``counts``; stores are to be opened within it."""
    found = Asked(counts)
    real = time.sleep

    def sleep(seconds: float) -> None:
        # Nothing: others may have the processor.
        if seconds:
            found.note("sleep")
        real(seconds)

    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        # It waits until the thread runs.
        found.note("start")
        begin(thread)

    with (
        mock.patch.object(fcntl, "lockf", found.lockf),
        mock.patch.object(time, "sleep", sleep),
        mock.patch.object(threading.Thread, "start", start),
        ExitStack() as stack,
    ):
        sys.meta_path.insert(0, found)
        stack.callback(sys.meta_path.remove, found)
        for name in SYNCS:
            stack.enter_context(mock.patch.object(os, name, _noting(name, found)))
        yield found


def _noting(name: str, found: Asked) -> Callable[..., Any]:
    real: Callable[..., Any] = getattr(os, name)

    def call(*arguments: Any) -> Any:
        found.note(name)
        return real(*arguments)

    return call

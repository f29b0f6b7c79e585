"""The clocks of a process, in one place so that a test can put its own there.

Owns: reading the machine's clocks, and the clock that a test turns (``ShiftedClock``).
Must not know: what is timed.

A test's clock is a file that all processes of the test map: they find it by the environment variable
``HAYPILE_TEST_CLOCK`` when they open a store.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from haypile.hay.layout import OFFSET_ROW

if TYPE_CHECKING:
    from haypile.hay.store import Hay
    from haypile.hay.txn import WriteTxn


#: Names the file of a test's clock.
VARIABLE = "HAYPILE_TEST_CLOCK"
#: A frozen clock still tells any two publishes apart: it runs at this fraction of the real one.
FROZEN_SPEED = 1000

#: Words of the file: odd while it is changed; real and shown ns when it was; what to divide by.
_BUSY, _REAL, _SHOWN, _DIVISOR = range(4)


class ShiftedClock:
    """A monotonic clock that can be frozen and put forward, for all processes that map its file."""

    def __init__(self, path: Path) -> None:
        """Map the file at ``path``; makes it when it is not there."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(fd, 0, 4096)
            self._words = memoryview(mmap.mmap(fd, 4096)).cast("Q")
        finally:
            os.close(fd)

    def monotonic_ns(self) -> int:
        """What it shows, ns."""
        words = self._words
        while True:
            busy = words[_BUSY]
            real, shown, divisor = words[_REAL], words[_SHOWN], words[_DIVISOR]
            if not busy & 1 and busy == words[_BUSY]:
                return shown + (time.monotonic_ns() - real) // (divisor or 1)

    def turn(self, seconds: float = 0.0, *, frozen: bool | None = None) -> None:
        """Put it forward; ``frozen``: whether it stands still from now on (None: as before)."""
        words = self._words
        shown, divisor = self.monotonic_ns(), words[_DIVISOR]
        words[_BUSY] += 1
        words[_REAL] = time.monotonic_ns()
        words[_SHOWN] = shown + int(seconds * 1e9)
        words[_DIVISOR] = divisor if frozen is None else FROZEN_SPEED if frozen else 1
        words[_BUSY] += 1


def monotonic_clock() -> Callable[[], int]:
    """The machine's monotonic clock, ns, or the test's clock where there is one."""
    named = os.environ.get(VARIABLE)
    return ShiftedClock(Path(named)).monotonic_ns if named else time.monotonic_ns


class Clock:
    """What time it is."""

    __slots__ = ("monotonic", "now", "wall")

    def __init__(
        self,
        now: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        #: ns of the store's clock: the same in all processes of a vhost (``Hay.now``).
        self.now = now
        #: Seconds of the clock that timers of event loops use.
        self.monotonic = monotonic
        #: Seconds since 1970.
        self.wall = wall


def start_after(hay: Hay, txn: WriteTxn, latest: int) -> None:
    """Have the clock of a store that is being filled say no time up to ``latest`` (ns) any more."""
    hay.offset = max(hay.offset, latest + 1 - time.monotonic_ns())
    txn.put_internal(OFFSET_ROW, hay.offset.to_bytes(8, "big", signed=True))

"""The clocks of a process, in one place so that a test can put its own there.

Owns: reading the machine's clocks.
Must not know: what is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable


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

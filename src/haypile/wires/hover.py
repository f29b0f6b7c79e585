"""Letting others run before a sleep.

Owns: when that pays.
Must not know: what is slept for.

A consumer that sleeps whenever it has taken all there is gets woken by the very next message. Where publisher and
consumer share a processor, the kernel puts the woken one in the publisher's place: two changes of place for each
message. ``sched_yield`` (sched_yield(2)) lets the publisher go on, and there are several messages when it is full, or
has nothing to say. Where nobody else wants the processor, it costs a third of a microsecond. Where it is wanted by
something that has nothing to do with us, it costs a time slice, which is too much for one message: then it is left
out for a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

#: Longer than this, seconds, is long for a yield; with fewer messages than this after it, it was in vain.
SLICE, FEW = 0.001, 2
#: After yields in vain it is left out so many times at most.
MOST = 1023


class Hover:
    """Whether one process's waits begin with a yield."""

    __slots__ = ("_clock", "_left_out", "_next", "_yield")

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, let_others_run: Callable[[], None] = os.sched_yield
    ) -> None:
        """``clock``: seconds."""
        self._clock = clock
        self._yield = let_others_run
        self._left_out = 0
        #: How many waits go without, after the next yield in vain.
        self._next = 1

    def wait(self, sleep: Callable[[], int]) -> None:
        """``sleep``, perhaps after a yield; it returns how many messages came."""
        if self._left_out:
            self._left_out -= 1
            sleep()
            return
        clock = self._clock
        began = clock()
        self._yield()
        long = clock() - began >= SLICE
        if sleep() >= FEW or not long:
            self._next = max(self._next >> 1, 1)
        else:
            self._left_out = self._next
            self._next = min(2 * self._next + 1, MOST)

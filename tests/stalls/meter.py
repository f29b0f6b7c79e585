"""A clock on every callback of asyncio's loops.

Owns: how long each callback ran, how much of that was work and how much waiting.
Must not know: what the callbacks do.

A busy machine may take the processor away at any time, so wall-clock time alone says little. A call that blocks
gives the processor up by itself (a voluntary switch): waiting is the time of callbacks with such switches that
was neither spent on the processor nor, where the kernel tells (``/proc/thread-self/schedstat``), in its queue. Work
is the time that the thread was on the processor.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stalls:
    """What a stretch of a loop's life has seen."""

    callbacks: int = 0
    #: Longest wait, longest work, seconds; and the callbacks that took them.
    waited: float = 0.0
    worked: float = 0.0
    waiting: str = ""
    working: str = ""
    #: Only while this is set.
    on: bool = True
    #: All the work, seconds.
    work: float = 0.0
    #: Calls that may have to wait (``asking``).
    asked: list[str] = field(default_factory=list)

    def note(self, name: str, wall: float, work: float, switches: int) -> None:
        """One callback."""
        self.callbacks += 1
        wait = max(wall - work, 0.0) if switches else 0.0
        self.work += work
        if wait > self.waited:
            self.waited, self.waiting = wait, name
        if work > self.worked:
            self.worked, self.working = work, name


def in_queue() -> float:
    """Seconds that this thread wanted the processor and others had it; 0 where the kernel does not tell."""
    try:
        with open("/proc/thread-self/schedstat") as state:
            return int(state.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@contextmanager
def measured() -> Iterator[Stalls]:
    """Measure every callback of this thread's loops."""
    stalls = Stalls()
    run = asyncio.Handle._run

    def timed(handle: Any) -> None:
        if not stalls.on:
            run(handle)
            return
        switches, queued = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, in_queue()
        wall, work = time.perf_counter(), time.thread_time()
        run(handle)
        work, wall = time.thread_time() - work, time.perf_counter() - wall
        queued = in_queue() - queued
        switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - switches
        stalls.note(repr(getattr(handle, "_callback", handle))[:160], wall - queued, work, switches)

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
    try:
        yield stalls
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]

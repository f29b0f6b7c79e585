"""What comes before a sleep: letting others run, and a short look around where messages follow one another closely.

Owns: when that pays, and for how long.
Must not know: what is slept for, and how.

A consumer that sleeps whenever it has taken all there is gets woken by the very next message. Where publisher and
consumer share a processor, the kernel puts the woken one in the publisher's place: two changes of place for each
message. ``sched_yield`` (sched_yield(2)) lets the publisher go on, and there are several messages when it is full, or
has nothing to say. Where nobody else wants the processor, it costs a third of a microsecond. Where it is wanted by
something that has nothing to do with us, it costs a time slice, which is too much for one message: then it is left
out for a while.

Where publisher and consumer run on different processors, a wake-up takes longer than the message: 25 us and more in a
virtual machine, twice for a request and its reply. Whoever was woken soon after it had fallen asleep, several times
in a row, looks around for a moment before it sleeps again (200 us, ``HAYPILE_LOOK``), and lets others run between two
looks. After a moment in vain it takes twice as many short sleeps until the next one, and so it does where a stream
comes, which is taken one by one by who looks, and by the dozen by who sleeps. Whoever waits longer never looks: idle
costs nothing. Nor does who has competitors, for all of them would look for the same message, nor who has to wait
for a processor now and then: others could do something with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from haypile.lanes.backoff import Backoff

#: Longer than this, seconds, is long for a yield; with fewer messages than this after it, it was in vain.
SLICE, FEW = 0.001, 2
#: After yields in vain it is left out so many times at most.
MOST = 1024
#: A sleep no longer than this, seconds, was short: a request, its reply, and both wake-ups.
SHORT = 0.0003
#: So many short sleeps in a row are followed by a look; and so many, when looks have been in vain.
PATIENT, SCEPTICAL = 4, 4096
#: Found sooner than this, seconds, several times in a row: a stream, of which more comes together after a sleep.
STREAM = 0.000005
#: The share of the time that shows a crowd, and how often it is asked for, seconds.
CROWDED, PERIOD = 0.1, 0.01


class Pace:
    """How closely messages follow one another."""

    __slots__ = ("_enough", "_short", "_stream", "brisk")

    def __init__(self) -> None:
        #: A look is worth while.
        self.brisk = False
        #: Short sleeps in a row, and how many it takes for a look.
        self._short, self._enough = 0, PATIENT
        #: Looks that found something at once, or several messages, more than others lately.
        self._stream = 0

    def slept(self, seconds: float, messages: int) -> None:
        """So long it took to be woken, and so many ``messages`` there were then."""
        self._short = self._short + 1 if seconds < SHORT and messages < FEW else 0
        self.brisk = self._short >= self._enough

    def found(self, seconds: float, messages: int) -> None:
        """A look found so many ``messages`` after so long."""
        if seconds >= STREAM and messages < FEW:
            self._stream, self._enough = max(self._stream - 1, 0), max(self._enough >> 1, PATIENT)
            self.brisk = self._short >= self._enough
            return
        self._stream += 1
        if self._stream >= PATIENT:
            self.in_vain()

    def in_vain(self) -> None:
        """A look found nothing, or what comes together after a sleep."""
        self._stream = self._short = 0
        self.brisk = False
        self._enough = min(2 * self._enough, SCEPTICAL)


def waited() -> float:
    """Seconds that this thread has waited for a processor, all in all; 0.0 where the kernel does not count them."""
    try:
        fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        try:
            return int(os.read(fd, 100).split()[1]) / 1e9
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return 0.0


class Crowd:
    """Whether there are more who want a processor than there are processors."""

    __slots__ = ("_around", "_next", "_since", "_waited", "_waited_before")

    def __init__(self, waited: Callable[[], float] = waited) -> None:
        self._waited = waited
        self._around = False
        self._waited_before = self._since = self._next = 0.0

    def around(self, now: float) -> bool:
        """At ``now``, seconds: this thread has waited for more than ``CROWDED`` of the time since it was last asked."""
        if now >= self._next:
            waited = self._waited()
            self._around = self._next > 0 and waited - self._waited_before > CROWDED * (now - self._since)
            self._waited_before, self._since, self._next = waited, now, now + PERIOD
        return self._around


class Hover:
    """How one process waits that has nothing else to do."""

    __slots__ = (
        "_backoff",
        "_clock",
        "_crowd",
        "_found",
        "_long",
        "_look_for",
        "_pace",
        "_slept",
        "_yield",
        "_yielded",
    )

    def __init__(
        self,
        look: float,
        clock: Callable[[], float] = time.monotonic,
        let_others_run: Callable[[], None] = os.sched_yield,
        waited: Callable[[], float] = waited,
    ) -> None:
        """``look``: of how many seconds by ``clock``; 0: never."""
        self._crowd = Crowd(waited)
        self._look_for = look
        self._clock = clock
        self._yield = let_others_run
        self._pace = Pace()
        self._backoff = Backoff(MOST)
        #: The last wait began with a yield, and that took long.
        self._yielded = self._long = False
        #: How long the last wait slept, or looked until it found something (negative: it did not), seconds.
        self._slept, self._found = SHORT, -1.0

    def wait(self, turn: Callable[[bool], bool], alone: Callable[[], bool]) -> None:
        """Until ``turn`` says that there was something to do; ``turn(True)`` sleeps until then.

        ``alone``: whether nobody else waits for the same.
        """
        clock, pace = self._clock, self._pace
        began = clock()
        self._yielded = not self._backoff.leaves_out()
        if self._yielded:
            self._yield()
            self._long = clock() - began >= SLICE
        self._slept, self._found = SHORT, -1.0
        if pace.brisk and self._look_for and not self._crowd.around(began) and alone():
            looking = clock()
            if self._look(turn, began + self._look_for):
                self._found = clock() - looking
                return
            pace.in_vain()
        if turn(True):
            self._slept = clock() - began

    def _look(self, turn: Callable[[bool], bool], until: float) -> bool:
        clock, let_others_run = self._clock, self._yield
        while not turn(False):
            if clock() >= until:
                return False
            let_others_run()
        return True

    def came(self, messages: int) -> None:
        """So many messages were there when the wait was over."""
        if self._found >= 0.0:
            self._pace.found(self._found, messages)
        else:
            self._pace.slept(self._slept, messages)
        if not self._yielded:
            return
        if messages >= FEW or not self._long:
            self._backoff.paid()
        else:
            self._backoff.in_vain()

"""How far a consumer goes at once: beside others, by how fast it works; and whether it looks for more of a stream.

Owns: how many messages it may have in hand beyond its share, since it is done with them before a neighbour is awake;
whether to look for more at once.
Must not know: where messages come from, who the neighbours are.

RabbitMQ deals messages out in turn, and what is in hand nobody else can have any more. But a consumer that takes each
message of a stream by itself goes to the kernel queue several times as often, and the processors go from one
consumer to the next with a message or two each time.

Invariant: the pace counts all the time from one turn with messages on, sleep included, and only messages of which the
caller says that they are done with: there is none after a rest.
"""

from __future__ import annotations

from collections.abc import Callable

from haypile.lanes.backoff import Backoff

#: Seconds of work that may be in hand: the time of a few wake-ups.
SOON = 0.002
#: Messages, at most.
MOST = 64
#: So many messages at once are a stream; and how often, at most, the look for more is left out after looks in vain.
STREAM, IN_VAIN = 4, 64


class Stride:
    """How far one session's consumers of one queue go at once."""

    __slots__ = ("_began", "_came", "_clock", "_last", "_last_at", "_looked", "_looks", "quick")

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock``: monotonic, seconds."""
        self._clock = clock
        self._began = self._last_at = 0.0
        self._came = self._last = 0
        #: So many messages are worked through soon, if that takes as long as of late.
        self.quick = 0
        #: A look for more is on.
        self._looked = False
        self._looks = Backoff(IN_VAIN)

    def begin(self, done: bool = True) -> None:
        """A turn begins; ``done``: what came before it has been worked through."""
        now = self._clock()
        if done:
            if self._came:
                self._last, self._last_at, self._came = self._came, self._began, 0
            self._began = now
        passed = now - self._last_at
        self.quick = min(int(self._last * SOON / passed), MOST) if passed * MOST > self._last * SOON else MOST

    def took(self, count: int) -> None:
        """The turn brought ``count`` messages."""
        self._came += count
        if self._looked:
            self._looked = False
            self._looks.paid()

    def found_nothing(self) -> None:
        """The turn brought none."""
        if self._looked:
            self._looked = False
            self._looks.in_vain()

    def looks_again(self, count: int) -> bool:
        """After so many messages, and no more at the moment: whether to look again once these are done with.

        Of a stream there is more by then, and to look costs less than the loop's turn; but not where its publisher
        waits for our processor.
        """
        if count < STREAM or self._looks.leaves_out():
            return False
        self._looked = True
        return True

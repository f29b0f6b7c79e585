"""Queues whose lanes have no descriptor to wait for: sleepers are told by their sessions' bells.

Owns: the word of a queue's slot by which consumers say that they are about to sleep, and a
publisher's look at it.
Must not know: which kernel queues these are.

A consumer that found the lane empty writes a number that was never there before into the word, looks
at the lane once more, and sleeps. A publisher looks at the word after it has sent; if it is not the
number for which it rang last, it rings every consumer of the queue. So a publisher rings once for each
time somebody fell asleep, and never for consumers that are busy. Nobody clears the word, so nobody
can be killed before or after clearing it; a dead sleeper costs one ring. A publisher killed between
sending and looking leaves sleepers to the next publisher, or to their look once a second
(tests/model/lane_protocol.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.queue import QueueHandle
from haypile.lanes.lane import Lane

if TYPE_CHECKING:
    from haypile.broker.entities import Queue
    from haypile.broker.session import Session

#: Word of the queue's slot: who fell asleep last, and when.
SLEEPERS = 6


class BelledHandle(QueueHandle):
    """A session's way to a queue that rings its consumers."""

    __slots__ = ("naps", "rung", "session")

    def __init__(self, session: Session, queue: Queue) -> None:
        super().__init__(session.vhost, queue)
        self.session = session
        self.rung = 0
        self.naps = 0

    def offer(self, record: bytes, patience: float) -> bool:
        """See ``QueueHandle.offer``; wakes whoever sleeps."""
        sent = super().offer(record, patience)
        if sent and self.words[self.base + SLEEPERS] != self.rung:
            self.rouse()
        return sent

    def rouse(self) -> None:
        """Ring every consumer that may be asleep."""
        session = self.session
        # Before the look at who consumes: whoever sleeps by now was registered before.
        self.rung = self.words[self.base + SLEEPERS]
        session.vhost.topology.sync()
        source = session.sources.get(self.id)
        if source is not None:
            source.stir()
            session.outbox.soon()
        session.ring({key[0] for key in self.queue.consumers})

    def may_sleep(self, lane: Lane) -> bool:
        """See ``QueueHandle.may_sleep``. Where the loop says before it sleeps (``doze``), nothing need be said yet."""
        session = self.session
        if session.dozes is None:
            self.fall_asleep()
            return not lane.depth() and not self.closed
        session.dozing.add(self)
        session.dozes()
        return not self.closed

    def fall_asleep(self) -> None:
        """Whoever publishes after this rings."""
        self.naps = (self.naps + 1) & 0xFFFFFFFF
        self.words[self.base + SLEEPERS] = self.naps << 32 | self.session.id

    def leave_token(self, *, behind: bool = False) -> bool:
        """Nobody waits for the lane: everybody is to be rung instead."""
        return False


def doze(session: Session) -> None:
    """The loop sleeps until something wakes it: say so for all lanes that were found empty, and look at them once more.

    A consumer that looks again and again while it waits for the next message need not be rung for.
    """
    for handle in list(session.dozing):
        handle.fall_asleep()
        source = session.sources.get(handle.id)
        stirred = source is not None and (handle.closed or handle.retired() or source.depth())
        session.dozing.discard(handle)
        if source is not None and stirred:
            source.stir()
            source.pump()

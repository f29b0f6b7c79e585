"""Persistent messages that went into lanes: the journal does not see them there.

Owns: which lanes a session sent such messages into, and that none of them stays in one for long.
Must not know: how they are sent (``publisher``, ``express``), flushes (``journaling`` says when to look).

Without a confirm nobody is promised that the disk has a message, so it takes the way of all others while a consumer
keeps up: who does not acknowledge has it as soon as it is out of the lane, who does has it written down before its
callback sees it (``Holdings.keep``). What a consumer leaves in its lane for longer, while a callback takes long say,
is brought into the store by its publisher, and what is there when the publisher leaves.

Invariant: a lane that is known here is looked at ``DELAY`` after it became known, and again until it was found empty,
by the loop or by the next message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.queue import depth_of
from haypile.hay.errors import Busy, OutOfRoom

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

#: Longest time from one look to the next, ns.
DELAY = 30_000_000


class EnRoute:
    """One session's."""

    __slots__ = ("due", "last", "sent_before", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        #: Messages this session had published to each queue when it was last looked at.
        self.sent_before: dict[QueueHandle, int] = {}
        #: The queue that became known last, which spares most messages a search.
        self.last: QueueHandle | None = None
        #: When the next message is to have a look taken, ns of the store's clock.
        self.due = 0

    def sent(self, handle: QueueHandle, now: int) -> None:
        """A persistent message for a durable queue is in its lane. Not needed for ``last`` before ``due``."""
        known = self.sent_before
        if not known or now >= self.due:
            self.look()
            self.due = now + DELAY
        if handle not in known:
            known[handle] = handle.published - 1
        self.last = handle
        self.session.journaling.passing()

    def look(self) -> None:
        """Bring home what lies in a lane since the last look."""
        self.last = None
        for handle, before in list(self.sent_before.items()):
            depth = depth_of(handle)
            if handle.swath is not None and handle.swath.holds:
                # Nobody consumes: a backlog, of which what is laid is the last.
                if self.bring_home(handle):
                    del self.sent_before[handle]
            elif not depth:
                del self.sent_before[handle]
            elif depth <= handle.published - before:
                # A queue: what was in it at the last look is out of it.
                self.sent_before[handle] = handle.published
            elif self.bring_home(handle):
                del self.sent_before[handle]

    def bring_home(self, handle: QueueHandle) -> bool:
        """What is in the lane, into the store; False: not now."""
        session = self.session
        try:
            session.holdings.make_way(handle)
            with session.holdings.write() as moving:
                session.vhost.topology.sync(moving.txn)
                moving.drain(handle)
        except (Busy, OutOfRoom):
            return False
        session.wake(handle)
        return True

    def left(self) -> list[QueueHandle]:
        """Queues whose lanes are to be emptied before the session is over."""
        return [handle for handle in self.sent_before if depth_of(handle)]

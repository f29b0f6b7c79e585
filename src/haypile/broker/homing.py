"""Messages of ours in lanes that were retired while we sent: they are brought home into the hay.

Owns: the retired lanes of a session that it could not empty at once.
Must not know: why a lane is retired, how a publish goes on (``publisher``, ``express``).

Whoever retires a lane empties it before; what a publisher sends after that is nobody's but the publisher's, which finds
out by the lane generation word. Bringing it home needs the write lock. Where the loop has other work the lock is not
waited for: until it can be had, the lane stays open here (its descriptor keeps what is in it), all that the client
sends next waits, and no confirm of the message is sent.
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING

from haypile.hay.errors import Busy
from haypile.hay.haste import hasty

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.lanes.lane import Lane


class Homing:
    """One session's."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: Queues, and the lanes they had once.
        self.lanes: deque[tuple[QueueHandle, Lane]] = deque()

    def rescue(self, handle: QueueHandle) -> None:
        """Our message went into the lane of ``handle``, which was retired meanwhile: bring it home, now or soon."""
        session = self.session
        lane = handle.lane
        if lane is None:
            if handle.swath is not None:
                self.empty(handle, None)
                session.wake(handle)
            return
        try:
            with hasty(session.vhost.hay) if session.sliced else nullcontext():
                self.empty(handle, lane)
        except Busy:
            # The handle is not to close it.
            if handle.unwatch is not None:
                handle.unwatch()
            handle.lane, handle.generation = None, -1
            self.lanes.append((handle, lane))
            session.pressure.go_on(self.bring_home)
            return
        session.wake(handle)

    def bring_home(self) -> None:
        """Empty the lanes that are here."""
        while self.lanes:
            handle, lane = self.lanes[0]
            self.empty(handle, lane)
            self.lanes.popleft()
            lane.close()
            self.session.wake(handle)

    def empty(self, handle: QueueHandle, lane: Lane | None) -> None:
        """In a transaction, or several where there is more in the lane than slots. Raises ``Busy``: go on later."""
        holdings = self.session.holdings
        whole = False
        while not whole:
            with holdings.write() as moving:
                self.session.vhost.topology.sync(moving.txn)
                whole = moving.drain(handle, lane)

"""Messages of one turn of the loop that are stored together.

Owns: messages that were routed and are not stored yet, and the transaction that stores them.
Must not know: how a confirm reaches the client (``journaling``), returns, channels' modes.

A publisher that has one confirm outstanding already goes on without waiting for it, so its loop turns: what it
publishes until then costs one transaction, one wake-up of each queue's consumers and, at most, one sync. The same
holds for messages without confirms that their lane does not take, where the loop has other work (``Session.sliced``):
its program cannot be waiting for them.

Invariants:

* What is here comes before whatever the session is asked for later: other publishes and methods store it first, and
  so does the loop before it sleeps. What finds no room waits as the first in the session's line (``pressure``).
* Nothing here was confirmed. It is lost with its process, like what a socket holds; what is given up in an
  orderly way stores it.
* A message is stored once: where it is not known whether the transaction came about, it is not put back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from pika.spec import BasicProperties

from haypile.broker import message
from haypile.broker.enqueue import Arrivals
from haypile.broker.message import PERSISTENT
from haypile.broker.pressure import Congested, Rest, Unfinished
from haypile.broker.publisher import count
from haypile.hay.errors import Busy, HayError, OutOfRoom
from haypile.hay.gates import DISK_ALARM
from haypile.hay.haste import PAUSE

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

LOGGER = logging.getLogger("haypile")

#: Messages, and bytes of records, that are stored at once: others must not wait long for the lock.
MOST, BYTES = 64, 65_536
#: Messages that may be here while others have the lock: more than what is stored at once, for the wait is not over yet.
LONGEST = 2 * MOST


class Published(NamedTuple):
    """A message on its way into its queues."""

    #: Who waits for its confirm, and which one that is; None: nobody does.
    channel: Channel | None
    tag: int
    handles: tuple[QueueHandle, ...]
    record: bytes
    time: int
    priority: int
    expiration: str | None


_new_tuple = tuple.__new__


class Batch:
    """One session's."""

    __slots__ = ("held", "items", "most", "session", "size")

    def __init__(self, session: Session) -> None:
        self.session = session
        #: Never another list: ``express`` looks at it.
        self.items: list[Published] = []
        self.size = 0
        #: Messages stored in one transaction; one at a time where there was no room for many.
        self.most = MOST
        #: What is here waits in ``pressure``.
        self.held = False

    def takes(self, handles: tuple[QueueHandle, ...], properties: BasicProperties | None) -> bool:
        """Whether a message published with a confirm, for ``handles``, may wait for others."""
        session = self.session
        if properties is None or properties.delivery_mode != 2 or not (session.sliced or session.journaling.waiting):
            return False
        publisher = session.publisher
        if not publisher.journals or publisher.words[DISK_ALARM]:
            return False
        for handle in handles:
            if not handle.durable or handle.foreign:
                return False
        return bool(handles)

    def follows(self, handles: tuple[QueueHandle, ...]) -> bool:
        """Whether a message published without a confirm, for ``handles``, is to be stored with those here."""
        session = self.session
        if not self.items or not session.sliced or session.publisher.words[DISK_ALARM]:
            return False
        return bool(handles) and not any(handle.foreign for handle in handles)

    def grows(self) -> bool:
        """Whether it is what is here, and nothing else, that waits for the lock: what comes now may join it."""
        waiting = self.session.pressure.waiting
        return self.held and self.most == MOST and len(waiting) == 1 and len(self.items) < LONGEST

    def add(
        self,
        channel: Channel | None,
        handles: tuple[QueueHandle, ...],
        prefix: bytes,
        properties: BasicProperties | None,
        encoded: bytes,
        body: bytes,
    ) -> None:
        """Publish a message that it ``takes``, or that ``follows``: then nobody waits for its confirm.

        Raises ``pressure.Congested`` when there is no room, before the publish counts: it is to be tried again.
        """
        session = self.session
        now, priority, flags, expiration = session.publisher.now(), 0, 0, None
        if encoded and properties is not None:
            priority, expiration = properties.priority or 0, properties.expiration
            flags = PERSISTENT if properties.delivery_mode == 2 else 0
        record = message.encode(session.nonce, now, session.id, prefix, encoded, body, priority, flags)
        try:
            session.vhost.hay.admit(len(record))
        except OutOfRoom as error:
            self.go_first()
            raise Congested(str(error)) from None
        tag = 0
        if channel is not None:
            channel.publish_tag = tag = channel.publish_tag + 1
        count(handles)
        self.keep(channel, tag, handles, record, now, priority, expiration)

    def keep(
        self,
        channel: Channel | None,
        tag: int,
        handles: tuple[QueueHandle, ...],
        record: bytes,
        time: int,
        priority: int,
        expiration: str | None,
    ) -> None:
        """Have a message stored, for which there is room."""
        items = self.items
        items.append(_new_tuple(Published, (channel, tag, handles, record, time, priority, expiration)))
        self.size += len(record)
        if len(items) >= MOST or self.size >= BYTES:
            self.store()
        elif len(items) == 1:
            self.session.outbox.soon()

    # -- storing ------------------------------------------------------------------------------

    def store(self) -> None:
        """Store what is here; what cannot be stored now waits in ``pressure``, before all that comes."""
        if self.items and not self.held:
            self.held = True
            self.session.carry_out(0, Rest(self.go_on, None, light=True), None, b"")

    def go_first(self) -> None:
        """Store what is here before something else is done.

        Raises ``Congested`` when that has to be tried again from its beginning.
        """
        try:
            self.flush()
        except OutOfRoom as error:
            raise Congested(str(error)) from None
        except Busy:
            raise Unfinished(pause=PAUSE) from None

    def go_on(self) -> None:
        """Store what is here. Raises ``Congested`` when there is no room for it, ``Busy``."""
        try:
            if self.most == 1:
                # There was none the last time. What was kept back for that case is for those who take messages out.
                self.session.vhost.hay.admit(0)
            self.flush()
        except OutOfRoom as error:
            raise Congested(str(error), self.go_on) from None

    def flush(self) -> None:
        """Store what is here. Raises ``OutOfRoom`` and ``Busy``: what is not stored is still here then."""
        held, self.held = self.held, False
        try:
            while self.items:
                self._store(self.items[: self.most])
        except (OutOfRoom, Busy):
            self.held = held
            raise
        self.size, self.most = 0, MOST

    def _store(self, some: list[Published]) -> None:
        """In one transaction."""
        session = self.session
        del self.items[: len(some)]
        outcomes: list[tuple[bool, int]] = []
        whole = False
        try:
            with session.vhost.hay.write() as txn:
                txn.patient = not session.closed  # there is no later then
                session.vhost.topology.sync(txn)
                arrivals = Arrivals(session, txn, journals=session.publisher.journals, awaited=True)
                if is_run(some):
                    outcomes = [(True, end) for end in arrivals.put_run(some[0].handles[0], some)]
                else:
                    for one in some:
                        accepted = put(arrivals, one)
                        outcomes.append((accepted, len(arrivals.journaled)))
                noted, released = txn.noted, txn.released
                whole = True
        except BaseException as error:
            if not whole or isinstance(error, (OutOfRoom, Busy)):
                self.items[:0] = some
                self.most = 1 if isinstance(error, OutOfRoom) else self.most
            raise
        if session.closed:
            tell(session, arrivals)
        else:
            session.wake_all(arrivals)
        session.journaling.stored(noted, some, outcomes, arrivals)
        if released:
            session.journaling.release(released)

    def close(self) -> None:
        """The session ends: what it was given is stored, as what was written to a socket arrives."""
        try:
            self.flush()
        except HayError as error:
            name, lost = self.session.vhost.name, len(self.items)
            LOGGER.error("vhost %r: %d messages that were not confirmed are lost: %s", name, lost, str(error))


def is_run(some: list[Published]) -> bool:
    """Whether all go to the same queue, which only keeps them."""
    handles = some[0].handles
    if len(handles) != 1 or not handles[0].plain or handles[0].queue.deleted:
        return False
    for one in some:  # noqa: SIM110 (all() over a generator costs three times as much)
        if one.handles is not handles or one.expiration is not None:
            return False
    return True


def put(arrivals: Arrivals, one: Published) -> bool:
    """Put a message into its queues; False when one refuses it."""
    live = [handle for handle in one.handles if not handle.queue.deleted]
    if len(live) == 1:
        return arrivals.put(live[0], one.record, one.time, one.priority, one.expiration)
    return arrivals.put_all(live, one.record, one.time, one.priority, one.expiration)


def tell(session: Session, arrivals: Arrivals) -> None:
    """Wake the consumers of other sessions: this one has no loop any more."""
    for handle in arrivals.touched.values():
        if handle.has_consumers() and not handle.leave_token():
            session.ring({key[0] for key in handle.queue.consumers})

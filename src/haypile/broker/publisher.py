"""Publishing: from an exchange and a routing key to lanes and the hay.

Owns: a session's cache of routes, publish times, the publishing half of the lane protocol.
Must not know: channels' modes, confirms, returns.

The fast path touches caches, encodes once, and makes one kernel call per queue. What a lane
does not take goes into the hay in one transaction for all its queues, which closes their gates
before it commits; sleepers are woken afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pika.spec import BasicProperties

from haypile.broker import aging, aside, message
from haypile.broker.enqueue import Arrivals
from haypile.broker.enroute import EnRoute
from haypile.broker.message import AGING, HEADER, PERSISTENT
from haypile.broker.pressure import Congested, Unfinished
from haypile.broker.properties import copied_to
from haypile.hay.counters import PUBLISHED
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.gates import DISK_ALARM, VERSION
from haypile.hay.haste import PAUSE
from haypile.hay.swath import LONGEST

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

#: Routes a session remembers; beyond it the cache starts anew.
ROUTES = 65_536


#: Queues, the record's prefix, who keeps the message.
Routed = tuple[tuple["QueueHandle", ...], bytes, "aside.Aside | None"]

#: Messages stored in one turn of the loop before their consumers are woken all the same.
BURST = 64


class Publisher:
    """A session's publishing side."""

    __slots__ = (
        "clock",
        "enroute",
        "epoch",
        "hurried",
        "journals",
        "last",
        "patience",
        "routes",
        "session",
        "topology",
        "unwoken",
        "words",
    )

    def __init__(self, session: Session, patience: float) -> None:
        hay = session.vhost.hay
        self.session = session
        self.clock = session.vhost.clock.now
        self.topology = session.vhost.topology
        self.words = hay.gates.words
        self.last = 0
        #: Flags of records that durable queues keep beyond a reboot.
        self.journals = PERSISTENT if session.journaling.journal is not None else 0
        #: Of those, what went through lanes.
        self.enroute = EnRoute(session)
        #: Queues that got something whose consumers were not told yet.
        self.unwoken: list[dict[int, QueueHandle]] = []
        #: Seconds a full lane is waited for before the detour through the hay.
        self.patience = patience
        #: Of what is kept beyond a reboot: a loop stores what it publishes in one turn together, at little cost.
        self.hurried = 0.0 if session.sliced else patience
        self.routes: dict[tuple[str, str], Routed] = {}
        self.epoch = -1

    def now(self) -> int:
        """Publish time, ns: grows with every call."""
        now = self.clock()
        if now <= self.last:
            now = self.last + 1
        self.last = now
        return now

    def route(self, exchange: str, routing_key: str, properties: BasicProperties | None) -> Routed:
        """The queues a message goes to, its record's prefix, and which exchanges keep it.

        Raises NotFound for an exchange that is not there, AccessRefused for an internal one.
        """
        topology = self.topology
        if self.words[VERSION] != topology.version:
            topology.sync()
        if topology.epoch != self.epoch:
            # Read before routes are asked for: what changes meanwhile clears them again.
            self.routes.clear()
            self.epoch = topology.epoch
        headers = None if properties is None else properties.headers
        if headers is None:
            known = self.routes.get((exchange, routing_key))
            if known is not None:
                return known
            copies: list[str] = []
        else:
            copies = copied_to(headers)
        route = topology.route(exchange, routing_key, headers, copies, properties)
        handle_for = self.session.handle_for
        kept = aside.aside_of(route, (routing_key, *copies), headers, topology.traced)
        routed = tuple([handle_for(queue) for queue in route.queues]), route.prefix, kept
        if route.lasting and headers is None:
            if len(self.routes) >= ROUTES:
                self.routes.clear()
            self.routes[exchange, routing_key] = routed
        return routed

    def publish(
        self,
        handles: tuple[QueueHandle, ...],
        prefix: bytes,
        properties: BasicProperties | None,
        encoded: bytes,
        body: bytes,
        *,
        together: bool = False,
        passing: bool = False,
    ) -> bool:
        """Put one message into the queues of ``handles``; False when one refused it.

        ``together``: nobody waits for it, and what lanes do not take of it may be stored with what follows (``batch``).
        ``passing``: nobody waits for the disk, so lanes may have it though it is to be kept.
        Raises ``pressure.Congested`` when there is no room for it: what is left to do goes with it.
        """
        session = self.session
        now = self.clock()
        if now <= self.last:
            now = self.last + 1
        self.last = now
        priority = flags = 0
        expiration = None
        if encoded and properties is not None:
            priority = properties.priority or 0
            flags = PERSISTENT if properties.delivery_mode == 2 else 0
            expiration = properties.expiration
        for handle in handles:
            if handle.ages:
                flags |= AGING
        record = b"".join(
            (
                HEADER.pack(session.nonce, now, session.id, len(body), len(encoded), len(prefix), priority, flags),
                prefix,
                encoded,
                body,
            )
        )
        journaled = None
        lasting = flags & self.journals
        if lasting:
            # They go by way of the hay, where the journal finds them, or are looked for in lanes soon (``enroute``).
            journaled = [handle for handle in handles if handle.durable]
            if journaled and self.words[DISK_ALARM]:
                reason = f"low on disk: the journal of vhost '{session.vhost.name}' has no room left"
                again = functools.partial(self.publish, handles, prefix, properties, encoded, body)
                raise Congested(reason, again)
            if passing:
                journaled = [handle for handle in journaled if handle.foreign]
            handles = tuple([handle for handle in handles if handle not in journaled])
            count(journaled)
        if expiration is None:
            rest = self.send(handles, record, self.hurried if lasting else self.patience)
            if lasting:
                for handle in handles:
                    if handle.durable and handle not in rest:
                        self.enroute.sent(handle, now)
        else:
            count(handles)
            rest = [handle for handle in handles if not handle.was_sent()]
        if journaled:
            rest += journaled
        if session.homing.lanes:
            again = functools.partial(self.come_home, rest, record, now, priority, expiration)
            raise Unfinished(again, PAUSE)
        if not rest:
            return True
        if together and self.has_room(record):
            session.batch.keep(None, 0, tuple(rest), record, now, priority, expiration)
            return True
        return self.store(rest, record, now, priority, expiration)

    def send(self, handles: tuple[QueueHandle, ...], record: bytes, patience: float) -> list[QueueHandle]:
        """Send ``record`` through lanes; the queues whose lanes did not take it. ``patience``: see ``offer``."""
        rest: list[QueueHandle] = []
        # A full lane of several is waited for when all the others are served.
        at_first = patience if len(handles) == 1 else 0.0
        for handle in handles:
            # Like RabbitMQ, whether the queue takes it or not. (A word of memory is slow to read.)
            handle.published = published = handle.published + 1
            handle.counts[PUBLISHED] = published
            if not (aging.offer(handle, record, at_first) if handle.ages else handle.offer(record, at_first)):
                rest.append(handle)
            elif handle.retired():
                self.session.rescue(handle)
        if rest and len(handles) > 1:
            rest = [handle for handle in rest if not self.offer_again(handle, record, patience)]
        return rest

    def has_room(self, record: bytes) -> bool:
        """Whether the store has room for ``record``."""
        try:
            self.session.vhost.hay.admit(len(record))
        except OutOfRoom:
            return False
        return True

    def keep(
        self,
        kept: aside.Aside,
        prefix: bytes,
        properties: BasicProperties | None,
        encoded: bytes,
        body: bytes,
    ) -> None:
        """Store one message for the exchanges that keep it.

        Raises ``hay.errors.OutOfRoom`` when there is no room for it.
        """
        session = self.session
        priority = (properties.priority or 0) if properties is not None else 0
        flags = PERSISTENT if properties is not None and properties.delivery_mode == 2 else 0
        record = message.encode(session.nonce, self.now(), session.id, prefix, encoded, body, priority, flags)
        session.vhost.hay.admit(len(record))
        with session.vhost.hay.write() as txn:
            txn.patient = True
            self.topology.sync(txn)
            arrivals = Arrivals(session, txn, journals=self.journals, awaited=session.journaling.awaits)
            aside.keep(arrivals, kept, record)
            noted, released = txn.noted, txn.released
        self.note(noted, released, arrivals)

    def offer_again(self, handle: QueueHandle, record: bytes, patience: float) -> bool:
        """Wait for room in a lane that was full."""
        if not (aging.offer(handle, record, patience) if handle.ages else handle.offer(record, patience)):
            return False
        if handle.retired():
            self.session.rescue(handle)
        return True

    def store(self, handles: list[QueueHandle], record: bytes, now: int, priority: int, expiration: str | None) -> bool:
        """Put ``record`` into the hay for each of ``handles`` and wake their consumers.

        Raises ``pressure.Congested`` when there is no room for it: then none of them has it.
        """
        try:
            self.session.vhost.hay.admit(len(record))
            return self._store(handles, record, now, priority, expiration)
        except OutOfRoom as error:
            again = functools.partial(self.store, handles, record, now, priority, expiration)
            raise Congested(str(error), again) from None
        except Busy:
            again = functools.partial(self.store, handles, record, now, priority, expiration)
            raise Unfinished(again, PAUSE) from None

    def store_one(
        self, handle: QueueHandle, record: bytes, now: int, priority: int, expiration: str | None
    ) -> bool | None:
        """``publish`` to a queue by way of the hay; None: there is no room, and nothing was done."""
        try:
            self.session.vhost.hay.admit(len(record))
            accepted = self._store([handle], record, now, priority, expiration)
        except OutOfRoom:
            return None
        handle.published = published = handle.published + 1
        handle.counts[PUBLISHED] = published
        return accepted

    def come_home(
        self, handles: list[QueueHandle], record: bytes, now: int, priority: int, expiration: str | None
    ) -> bool:
        """What was sent into retired lanes first, then ``store``."""
        self.session.homing.bring_home()
        return not handles or self.store(handles, record, now, priority, expiration)

    def _store(
        self, handles: list[QueueHandle], record: bytes, now: int, priority: int, expiration: str | None
    ) -> bool:
        session = self.session
        with session.vhost.hay.write() as txn:
            txn.patient = True
            self.topology.sync(txn)
            arrivals = Arrivals(session, txn, journals=self.journals, awaited=session.journaling.awaits)
            session.swaths.bring_home(txn)
            live = [handle for handle in handles if not handle.queue.deleted]
            if len(live) == 1:
                accepted = arrivals.put(live[0], record, now, priority, expiration)
                if expiration is None and len(record) <= LONGEST and not arrivals.journaled:
                    session.swaths.begin(txn, live[0])
            else:
                accepted = arrivals.put_all(live, record, now, priority, expiration)
            noted, released = txn.noted, txn.released
        if noted and session.journaling.waiting:
            # The loop turns soon, since replies wait for it: one wake-up for all that comes until then, as
            # pika writes to its socket once for all of it.
            self.unwoken.append(arrivals.touched)
            if len(self.unwoken) >= BURST:
                self.wake()
        else:
            session.wake_all(arrivals)
        if noted or released:
            self.note(noted, released, arrivals)
        return accepted

    def wake(self) -> None:
        """Wake who may take what was stored since the loop last turned."""
        unwoken, self.unwoken = self.unwoken, []
        for handle in {handle.id: handle for touched in unwoken for handle in touched.values()}.values():
            if not handle.queue.deleted:
                self.session.wake(handle)

    def note(self, noted: int, released: set[int], arrivals: Arrivals) -> None:
        """What the transaction of ``arrivals`` means for the journal."""
        journaling = self.session.journaling
        if noted:
            consumers = any(handle.has_consumers() for handle in arrivals.touched.values())
            journaling.published(noted, arrivals.journaled, consumers)
        if released:
            journaling.release(released)


def count(handles: Iterable[QueueHandle]) -> None:
    """A message is published to each of ``handles``."""
    for handle in handles:
        handle.published += 1
        handle.counts[PUBLISHED] = handle.published

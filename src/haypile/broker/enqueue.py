"""Messages arriving in queues by way of the hay, and dying there.

Owns: what a queue's arguments make of a message: its place, its expiry, which message must go
when the queue is full, and the way of the dead to their dead letter exchange.
Must not know: lanes, confirms, who consumes.

One ``Arrivals`` belongs to one write transaction. It closes the gate of every queue it puts
something into before the commit, and knows afterwards whose consumers to wake. Sources of the
rules: https://www.rabbitmq.com/docs/ttl, /maxlength, /dlx; rabbit_amqqueue_process.erl (messages
expire at the head of the queue only; the limit is checked against the queue as it would be).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from haypile.broker import aside, deadletter, message
from haypile.broker.message import FLAGS_AT, HEADER, HEADER_SIZE, ORDER, PERSISTENT
from haypile.broker.queue import DRAINED, MS
from haypile.hay.counters import DEAD_LETTERED, EXPIRED, MOST
from haypile.hay.layout import JOURNALED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haypile.broker.batch import Published
    from haypile.broker.entities import Route
    from haypile.broker.message import Message
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.hay.txn import WriteTxn

#: RabbitMQ hands a message with a TTL of 0 to a consumer that is waiting; ours needs this long to
#: come and take it, ns.
GRACE = 20 * MS
#: Expired messages handled in one transaction: publishers must not wait long for the lock.
EXPIRE_BATCH = 500
#: So many may be deleted in the time in which one is dead-lettered.
FORGOTTEN = 4


class Arrivals:
    """What one write transaction puts into queues."""

    __slots__ = ("awaited", "journaled", "journals", "now", "session", "touched", "txn")

    def __init__(self, session: Session, txn: WriteTxn, *, journals: int = PERSISTENT, awaited: bool = False) -> None:
        """``journals``: flags of records that durable queues keep; ``awaited``: see ``WriteTxn.put``."""
        self.session = session
        self.txn = txn
        self.journals = journals
        self.awaited = awaited
        #: Queue and order of what the journal is to keep.
        self.journaled: list[bytes] = []
        self.now = session.vhost.hay.now()
        #: Queues that got something, by id: to be woken after the commit.
        self.touched: dict[int, QueueHandle] = {}

    # -- arriving ---------------------------------------------------------------------------

    def put(self, handle: QueueHandle, record: bytes, time: int, priority: int, expiration: str | None) -> bool:
        """Put ``record`` into one queue; False when the queue refuses it."""
        if handle.plain and expiration is None:
            self.touch(handle)
            order = ORDER.pack(255, time, self.session.id)
            flags = self.flags_of(record, handle.durable, handle.id, order)
            self.txn.put(handle.id, order, record, flags=flags, awaited=self.awaited)
            return True
        rules = handle.rules
        if handle.words[handle.base] > DRAINED:
            # What was published before it stands before it.
            self.session.swaths.gather(self.txn, handle)
        weight = body_size(record)
        if rules.overflow != "drop-head" and self.overflows(handle, 1, weight):
            if rules.overflow == "reject-publish-dlx":
                self.bury(handle, record, deadletter.MAXLEN)
            return False
        order = ORDER.pack(255 - min(priority, rules.max_priority), time, self.session.id)
        expires = self.expiry(handle, expiration)
        flags = self.flags_of(record, handle.durable, handle.id, order)
        self.touch(handle)
        self.txn.put(handle.id, order, record, flags=flags, expires=expires, weight=weight, awaited=self.awaited)
        self.trim(handle)
        if expires:
            self.session.due.note_arrival(self.txn, handle, expires)
        return True

    def put_run(self, handle: QueueHandle, messages: Sequence[Published]) -> list[int]:
        """Put ``messages`` into a plain queue, as ``put`` does; of each, how much of ``journaled`` it ends."""
        self.touch(handle)
        pack, sender, awaited, journaled = ORDER.pack, self.session.id, self.awaited, self.journaled
        prefix, journals = handle.id.to_bytes(4, "big"), self.journals if handle.durable else 0
        ends: list[int] = []
        rows: list[tuple[bytes, bytes, int]] = []
        for one in messages:
            record, order, flags = one.record, pack(255, one.time, sender), 0
            if record[FLAGS_AT] & journals:
                flags = JOURNALED
                if awaited:
                    journaled.append(prefix + order)
            rows.append((order, record, flags))
            ends.append(len(journaled))
        self.txn.put_run(handle.id, rows, awaited=awaited)
        return ends

    def put_all(
        self, handles: list[QueueHandle], record: bytes, time: int, priority: int, expiration: str | None
    ) -> bool:
        """Put ``record`` into several queues; False when one refuses it."""
        plain = [handle for handle in handles if handle.plain] if expiration is None else []
        if len(plain) > 1:
            order = ORDER.pack(255, time, self.session.id)
            for handle in plain:
                self.touch(handle)
            for durable in (False, True):
                targets = [(handle.id, order, 0) for handle in plain if handle.durable is durable]
                flags = 0
                for queue, _, _ in targets:
                    flags = self.flags_of(record, durable, queue, order)
                self.txn.put_shared(targets, record, flags=flags, awaited=self.awaited)
            handles = [handle for handle in handles if not handle.plain]
        accepted = True
        for handle in handles:
            accepted &= self.put(handle, record, time, priority, expiration)
        return accepted

    def deliver(self, route: Route, keys: tuple[str, ...], record: bytes, time: int, decoded: Message) -> None:
        """Put a message of the broker's own (``record``, ``decoded``) where ``route`` says."""
        properties = decoded.properties
        kept = aside.aside_of(route, keys, properties.headers)
        if kept is not None:
            aside.keep(self, kept, record)
        handles = [self.session.handle_for(queue) for queue in route.queues]
        self.put_all(handles, record, time, decoded.priority, properties.expiration)

    def flags_of(self, record: bytes, durable: bool, queue: int, order: bytes) -> int:
        """The entry's flags for ``record``, about to be put into a ``queue`` that is ``durable`` or not."""
        if not durable or not record[FLAGS_AT] & self.journals:
            return 0
        if self.awaited:
            self.journaled.append(queue.to_bytes(4, "big") + order)
        return JOURNALED

    def touch(self, handle: QueueHandle) -> None:
        """The queue gets a message: publishing goes to the hay until that is served."""
        handle.close_gate()
        self.touched[handle.id] = handle

    def expiry(self, handle: QueueHandle, expiration: str | None) -> int:
        """When a message that arrives now expires, ns; 0: never."""
        ttl = handle.rules.message_ttl
        if expiration is not None:
            own = int(expiration)
            ttl = own if ttl is None else min(ttl, own)
        if ttl is None:
            return 0
        if ttl == 0 and handle.has_consumers():
            return self.now + GRACE
        return self.now + ttl * MS

    def overflows(self, handle: QueueHandle, more: int, weight: int) -> bool:
        """Whether the queue with ``more`` messages of ``weight`` bytes would be too long."""
        rules = handle.rules
        if (rules.max_length is None and rules.max_length_bytes is None) or handle.pushes:
            return False
        ready, size = self.txn.count(handle.id)
        return (rules.max_length is not None and ready + more > rules.max_length) or (
            rules.max_length_bytes is not None and size + weight > rules.max_length_bytes
        )

    def trim(self, handle: QueueHandle, most: int | None = None) -> bool:
        """Drop from the head what is too much, or ``most`` messages of it; whether that was all."""
        if handle.rules.overflow == "drop-head":
            for dropped in itertools.count():
                if not self.overflows(handle, 0, 0):
                    break
                if dropped == most:
                    return False
                if not self.drop_head(handle, deadletter.MAXLEN):
                    break
        return True

    # -- dying ------------------------------------------------------------------------------

    def drop_head(self, handle: QueueHandle, reason: str) -> bool:
        """Give up the oldest message; False when there is none."""
        head = self.txn.head(handle.id)
        if head is None:
            return False
        found = self.txn.remove(handle.id, head.order)
        if found is not None and handle.rules.dead_letter_exchange is not None:
            self.bury(handle, found[1], reason)
        return True

    def expire(self, handle: QueueHandle, limit: int = EXPIRE_BATCH) -> int:
        """Give up expired messages from the head of the queue; how many there were."""
        count = 0
        if handle.expiring:
            if handle.rules.dead_letter_exchange is None:
                # Nobody asks what they were.
                count = self.txn.expire(handle.id, self.now, limit * FORGOTTEN)
                handle.counts[EXPIRED] = handle.counts[EXPIRED] + count & MOST
                return count
            while count < limit:
                head = self.txn.head(handle.id)
                if head is None or not head.expires or head.expires > self.now:
                    break
                self.drop_head(handle, deadletter.EXPIRED)
                count += 1
            handle.counts[EXPIRED] = handle.counts[EXPIRED] + count & MOST
        return count

    def bury(self, handle: QueueHandle, record: bytes, reason: str) -> None:
        """Publish a dead message to its queue's dead letter exchange, if that exists."""
        session = self.session
        rules = handle.rules
        topology = session.vhost.topology
        exchange = rules.dead_letter_exchange
        if exchange is None or exchange not in topology.exchanges:
            return
        try:
            decoded = message.decode(record, session.nonce)
        except message.Foreign:
            return
        queue = handle.queue.name
        if decoded.flags & message.HELD_BACK:
            decoded.properties.headers = aside.turned(decoded.properties.headers)
        dead = deadletter.make(decoded, reason, queue, rules.dead_letter_routing_key, session.vhost.clock.wall())
        headers = dead.properties.headers
        key, *more_keys = dead.routing_keys
        route = topology.forward(exchange, key, headers, more_keys, dead.properties)
        if route is None:
            return
        if reason != deadletter.REJECTED:
            live = [target for target in route.queues if not deadletter.is_cycle(target.name, headers)]
            route = route._replace(queues=tuple(live))
        if not route.queues and not route.delays and not route.histories:
            return
        handle.counts[DEAD_LETTERED] = handle.counts[DEAD_LETTERED] + 1 & MOST
        encoded = message.encode_properties(dead.properties)
        time = session.publisher.now()
        new = message.encode(
            session.nonce,
            time,
            session.id,
            message.encode_prefix(exchange, dead.routing_key),
            encoded,
            decoded.body,
            decoded.priority,
            decoded.flags & ~(message.HELD_BACK | message.AGING),
        )
        self.deliver(route, tuple(dead.routing_keys), new, time, decoded)


def body_size(record: bytes) -> int:
    """Bytes of the body in ``record``: what x-max-length-bytes counts."""
    fields = HEADER.unpack_from(record)
    return len(record) - HEADER_SIZE - int(fields[4]) - int(fields[5])

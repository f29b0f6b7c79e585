"""A channel: what was delivered on it and not settled, its modes, its consumers.

Owns: delivery tags, the unacked messages, prefetch limits, confirm numbering, the buffered
work of a transaction, the name of the last declared queue (AMQP 0-9-1: per channel).
Must not know: how messages are stored or routed (``settle``, ``publisher``).

Invariant: an unacked message is also held outside this process (landing slot or taken list).
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker import firehose, texts
from haypile.broker.bodies import is_apart
from haypile.broker.errors import PreconditionFailed
from haypile.broker.message import Foreign, Message, encode_message
from haypile.broker.properties import add_delivery_count
from haypile.broker.taken import Taken
from haypile.hay.counters import DELIVERED, MOST, REDELIVERED
from haypile.hay.gates import VERSION

if TYPE_CHECKING:
    from haypile.broker.consumer import Consumer
    from haypile.broker.ports import Content
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.broker.taken import Fresh, Landed

_Deliver = spec.Basic.Deliver
_new_delivery = _Deliver.__new__  # a third less than calling the class


class Mode(Enum):
    """What publishing on the channel means (confirm and tx exclude each other)."""

    PLAIN = "plain"
    CONFIRM = "confirm"
    TX = "tx"


class Unacked:
    """A message delivered and not settled."""

    __slots__ = ("_record", "consumer", "deliveries", "handle", "number", "order", "slot")

    def __init__(self, consumer: Consumer | None, handle: QueueHandle, taken: Taken) -> None:
        self.consumer = consumer
        self.handle = handle
        record, _, self.slot, self.number, self.order, self.deliveries = taken
        #: Kept only while the landing holds it: a requeue needs the bytes.
        self._record = record if self.slot >= 0 else b""

    @property
    def record(self) -> bytes:
        """The message as bytes, whole; empty when the taken list has it."""
        record = self._record
        if isinstance(record, Message):
            record = self._record = encode_message(record, self.handle.vhost.hay.nonce)
        bodies = self.handle.bodies
        if bodies is not None and is_apart(record, bodies.nonce):
            # Of a deleted queue the body may be gone, and nobody asks for it.
            return bodies.whole_or_nothing(record) or record
        return record

    def drop_record(self) -> None:
        """The taken list has it."""
        self._record = b""


_new_unacked = Unacked.__new__  # a quarter of the time of calling the class


class Channel:
    """One open channel of a session."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        #: The broker closed it and waits for Channel.CloseOk.
        self.closing = False
        self.mode = Mode.PLAIN
        self.consumers: dict[str, Consumer] = {}
        self.unacked: dict[int, Unacked] = {}
        #: Of those, how many went to consumers: only they count against the shared limit.
        self.consumers_unacked = 0
        self.delivery_tag = 0
        self.publish_tag = 0
        #: Delivery tags and the times by which they had been given out (``timeouts``).
        self.marks: deque[tuple[int, float]] = deque()
        #: basic.qos with global=False: the limit of consumers started from now on.
        self.prefetch = 0
        #: basic.qos with global=True: one limit for all consumers of the channel.
        self.global_limit = 0
        self.last_queue = ""
        #: Queue of the channel's direct reply-to consumer.
        self.reply_queue = ""
        #: tx: publishes and settlements waiting for the commit.
        self.tx_publishes: list[Any] = []
        self.tx_settled: list[tuple[str, list[tuple[int, Unacked]], bool]] = []

    # -- delivering -------------------------------------------------------------------------

    def deliver_fresh(self, consumer: Consumer, messages: Sequence[Fresh]) -> None:
        """Send ``messages`` to ``consumer``, which does not acknowledge."""
        session = self.session
        handle = consumer.source.handle
        tag, name = consumer.tag, handle.queue.name
        # RabbitMQ gives direct replies the next tag, but does not use it up.
        step = 0 if name == self.reply_queue else 1
        given = self.delivery_tag
        topology = session.vhost.topology
        if handle.words[VERSION] != topology.version:
            topology.sync()
        batch: list[Content] = []
        try:
            if handle.foreign:
                batch = handle.deliveries(tag, given, messages)
            else:
                records: Any = messages
                if len(messages) > 1 and (session.bodies.met or is_apart(records[0], session.nonce)):
                    session.bodies.claim(records)
                consumer.read_all(records, batch, tag, given, step, functools.partial(session.set_aside, name))
        finally:
            # What counts as delivered is, whatever comes in between.
            self.delivery_tag = given + step * len(batch)
            if batch:
                session.outbox.contents(self.number, batch)
        handle.counts[DELIVERED] = handle.counts[DELIVERED] + len(messages) & MOST
        if topology.traced and step:
            traced = [
                (Message(method.exchange, method.routing_key, properties, body, 0, 0, 0, 0), False, 0)
                for method, properties, body in batch
            ]
            firehose.delivered(session, self.number, handle, traced)

    def deliver_landed(self, consumer: Consumer, messages: list[Landed]) -> None:
        """Send ``messages``, which lie in slots of the landing, to ``consumer``, which acknowledges."""
        session = self.session
        topology, handle = session.vhost.topology, consumer.source.handle
        if handle.words[VERSION] != topology.version:
            topology.sync()
        if topology.traced:
            self.deliver(consumer, [Taken(record, False, slot, 0, b"", 0) for slot, record in messages])
            return
        before = given = self.delivery_tag
        batch: list[Content] = []
        unsettled, slots = self.unacked, session.holdings.slots
        #: Ids of the records that are none.
        alien: set[int] = set()

        def set_aside(record: bytes, error: Foreign) -> None:
            session.set_aside(handle.queue.name, record, error)
            alien.add(id(record))

        try:
            consumer.read_all([record for _, record in messages], batch, consumer.tag, given, 1, set_aside)
            for slot, record in messages:
                if alien and id(record) in alien:
                    session.holdings.free_slot(slot)
                    continue
                unacked = _new_unacked(Unacked)
                unacked.consumer, unacked.handle, unacked._record, unacked.slot = consumer, handle, record, slot
                unacked.number, unacked.order, unacked.deliveries = 0, b"", 0
                unsettled[given + 1] = slots[slot] = unacked
                given += 1
        finally:
            if session.bodies.read:
                session.holdings.note_apart(messages)
            # What counts as delivered is, whatever comes in between.
            self.delivery_tag = given
            consumer.unacked += given - before
            self.consumers_unacked += given - before
            del batch[given - before :]
            if batch:
                session.outbox.contents(self.number, batch)
        handle.counts[DELIVERED] = handle.counts[DELIVERED] + len(messages) & MOST

    def deliver(self, consumer: Consumer, messages: Sequence[Taken]) -> None:
        """Send ``messages`` to ``consumer``."""
        session = self.session
        handle = consumer.source.handle
        tag = consumer.tag
        no_ack = consumer.no_ack
        name, read = handle.queue.name, consumer.read
        step = 0 if name == self.reply_queue else 1
        again, given, kept = 0, self.delivery_tag, 0
        topology = session.vhost.topology
        if handle.words[VERSION] != topology.version:
            topology.sync()
        traced: list[tuple[Message, bool, int]] | None = [] if topology.traced and step else None
        batch: list[Content] = []
        unsettled, slots, counting = self.unacked, session.holdings.slots, handle.counts_deliveries
        try:
            for taken in messages:
                record, redelivered, slot, _, _, deliveries = taken
                try:
                    exchange, key, properties, body = record[:4] if record.__class__ is Message else read(record)  # type: ignore[arg-type]
                except Foreign as error:
                    session.set_aside(name, record, error)  # type: ignore[arg-type]
                    session.holdings.forget(taken)
                    continue
                delivery = _new_delivery(_Deliver)
                delivery.consumer_tag, delivery.delivery_tag, delivery.redelivered = tag, given + 1, redelivered
                delivery.exchange, delivery.routing_key = exchange, key
                if not no_ack:
                    unacked = unsettled[given + 1] = Unacked(consumer, handle, taken)
                    kept += 1
                    if slot >= 0:
                        slots[slot] = unacked
                given += step
                if redelivered:
                    again += 1
                if deliveries and counting:
                    add_delivery_count(properties, deliveries)
                batch.append((delivery, properties, body))
                if traced is not None:
                    traced.append((Message(exchange, key, properties, body, 0, 0, 0, 0), redelivered, deliveries))
        finally:
            if session.bodies.read:
                landed = [(one.slot, one.record) for one in messages if one.slot >= 0]
                session.holdings.note_apart([(slot, record) for slot, record in landed if isinstance(record, bytes)])
            self.delivery_tag = given
            consumer.unacked += kept
            self.consumers_unacked += kept
            if batch:
                session.outbox.contents(self.number, batch)
        handle.counts[DELIVERED] = handle.counts[DELIVERED] + len(messages) & MOST
        if again:
            handle.counts[REDELIVERED] = handle.counts[REDELIVERED] + again & MOST
        if traced:
            firehose.delivered(session, self.number, handle, traced)

    # -- settling ---------------------------------------------------------------------------

    def collect(self, delivery_tag: int) -> list[tuple[int, Unacked]]:
        """Take the message that a settlement names out of ``unacked``.

        Raises PreconditionFailed (406, channel) for a tag that is not there.
        """
        one = self.unacked.pop(delivery_tag, None)
        if one is None:
            raise PreconditionFailed(texts.unknown_delivery_tag(delivery_tag))
        self.uncount(one)
        return [(delivery_tag, one)]

    def last_of(self, delivery_tag: int) -> int:
        """The last tag that a settlement up to ``delivery_tag`` names; 0 if it names none.

        Tag 0 means all. Raises PreconditionFailed (406, channel): RabbitMQ refuses a tag beyond which nothing
        was delivered.
        """
        if delivery_tag == 0:
            return next(reversed(self.unacked), 0)
        if delivery_tag not in self.unacked:
            raise PreconditionFailed(texts.unknown_delivery_tag(delivery_tag))
        return delivery_tag

    def collect_to(self, last: int, most: int | None = None) -> list[tuple[int, Unacked]]:
        """Take the messages up to tag ``last`` out of ``unacked``; the first ``most`` of them."""
        unacked = self.unacked
        found = []
        for tag, one in itertools.islice(unacked.items(), most):
            if tag > last:
                break
            found.append((tag, one))
        for tag, one in found:
            del unacked[tag]
            self.uncount(one)
        return found

    def uncount(self, unacked: Unacked) -> None:
        """One less in hand of its consumer."""
        consumer = unacked.consumer
        if consumer is not None:
            consumer.unacked -= 1
            self.consumers_unacked -= 1
            consumer.source.stir()

    def stir(self) -> None:
        """Credit changed: look at the queues of all consumers again."""
        for consumer in self.consumers.values():
            consumer.source.stir()
        self.session.outbox.soon()

"""basic.*, but for publishing: consumers, getting, settling, prefetch.

Owns: the methods' rules (RabbitMQ's rabbit_channel) and replies.
Must not know: lanes, the store.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

from pika import spec

from haypile.broker import backlog, consuming, firehose, settle, shrinking, texts
from haypile.broker.channel import Channel, Mode, Unacked
from haypile.broker.declare import queue as queues
from haypile.broker.declare.context import Context
from haypile.broker.errors import NotAllowed, NotImplementedByBroker
from haypile.broker.handlers import reply_to
from haypile.broker.handlers.registry import handles
from haypile.broker.message import Foreign, Message, decode
from haypile.broker.pressure import Unfinished
from haypile.broker.properties import add_delivery_count
from haypile.broker.source import Source
from haypile.broker.taken import Taken
from haypile.hay.counters import ACKED, DELIVERED, MOST, REDELIVERED

if TYPE_CHECKING:
    from haypile.broker.session import Session
    from haypile.hay.txn import WriteTxn

#: Messages acknowledged, and refused for good, before the loop has its turn, where it has other work.
ACKED_AT_ONCE, REFUSED_AT_ONCE = 500, 16
#: Looking a queue up reads nothing from the store.
NO_TXN = cast("WriteTxn", None)


@handles(spec.Basic.Qos)
def basic_qos(session: Session, channel: Channel, method: spec.Basic.Qos) -> spec.Basic.QosOk:
    """https://www.rabbitmq.com/docs/consumer-prefetch: the limit of new consumers, or a shared one."""
    if method.prefetch_size:
        raise NotImplementedByBroker(texts.prefetch_size(method.prefetch_size))
    if method.global_qos:
        channel.global_limit = method.prefetch_count
    else:
        channel.prefetch = method.prefetch_count
        channel.global_limit = 0
    channel.stir()
    return spec.Basic.QosOk()


@handles(spec.Basic.Consume)
def basic_consume(session: Session, channel: Channel, method: spec.Basic.Consume) -> None:
    """Start a consumer; ConsumeOk precedes its first message."""
    tag = method.consumer_tag
    if tag in channel.consumers:
        raise NotAllowed(texts.reused_consumer_tag(tag))
    if not tag:
        tag = queues.server_name("amq.ctag")
    if method.queue == reply_to.NAME:
        consumer = reply_to.consume(session, channel, tag, bool(method.no_ack))
    else:
        consumer = consuming.start(
            session,
            channel,
            method.queue,
            tag,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            arguments=method.arguments or {},
        )
    if not method.nowait:
        session.outbox.method(channel.number, spec.Basic.ConsumeOk(tag))
    if not session.sliced:
        consumer.source.pump()
    session.outbox.soon()


@handles(spec.Basic.Cancel)
def basic_cancel(session: Session, channel: Channel, method: spec.Basic.Cancel) -> spec.Basic.CancelOk | None:
    """Stop a consumer; an unknown tag is no error."""
    consumer = channel.consumers.get(method.consumer_tag)
    if consumer is not None:
        shrinking.part_from(session, [consumer])
        consuming.stop(session, channel, consumer)
        if consumer.source.queue.name == channel.reply_queue:
            channel.reply_queue = ""
    return None if method.nowait else spec.Basic.CancelOk(method.consumer_tag)


@handles(spec.Basic.Get)
def basic_get(session: Session, channel: Channel, method: spec.Basic.Get) -> spec.Basic.GetEmpty | None:
    """Take one message, with the number of those left."""
    session.pump()
    topology = session.vhost.topology
    topology.sync()
    queue = queues.lookup(Context(topology, NO_TXN, session.id, channel.last_queue), method.queue)
    handle = session.handle_for(queue)
    while True:
        taken, left = backlog.get(Source(session, handle), method.no_ack)
        if taken is None:
            return spec.Basic.GetEmpty()
        message = _decode(session, queue.name, taken.record)
        if message is not None:
            break
        session.holdings.forget(taken)
    channel.delivery_tag += 1
    handle.counts[DELIVERED] = handle.counts[DELIVERED] + 1 & MOST
    if taken.redelivered:
        handle.counts[REDELIVERED] = handle.counts[REDELIVERED] + 1 & MOST
    if not method.no_ack:
        channel.unacked[channel.delivery_tag] = Unacked(None, handle, taken)
    if handle.counts_deliveries:
        add_delivery_count(message.properties, taken.deliveries)
    got = spec.Basic.GetOk(channel.delivery_tag, taken.redelivered, message.exchange, message.routing_key, left)
    session.outbox.contents(channel.number, ((got, message.properties, message.body),))
    if topology.traced:
        firehose.delivered(session, channel.number, handle, [(message, taken.redelivered, taken.deliveries)])
    return None


@handles(spec.Basic.Ack)
def basic_ack(session: Session, channel: Channel, method: spec.Basic.Ack) -> None:
    """Settle one message, or all up to a tag."""
    if method.multiple:
        finish_to(session, channel, "ack", channel.last_of(method.delivery_tag), False)
    else:
        finish(session, channel, "ack", channel.collect(method.delivery_tag), False)


@handles(spec.Basic.Nack)
def basic_nack(session: Session, channel: Channel, method: spec.Basic.Nack) -> None:
    """Reject one message, or all up to a tag."""
    if method.multiple:
        finish_to(session, channel, "reject", channel.last_of(method.delivery_tag), method.requeue)
    else:
        finish(session, channel, "reject", channel.collect(method.delivery_tag), method.requeue)


@handles(spec.Basic.Reject)
def basic_reject(session: Session, channel: Channel, method: spec.Basic.Reject) -> None:
    """Reject one message."""
    finish(session, channel, "reject", channel.collect(method.delivery_tag), method.requeue)


@handles(spec.Basic.Recover)
def basic_recover(session: Session, channel: Channel, method: spec.Basic.Recover) -> spec.Basic.RecoverOk:
    """Requeue everything unacked on the channel."""
    recover(session, channel, method.requeue)
    return spec.Basic.RecoverOk()


@handles(spec.Basic.RecoverAsync)
def basic_recover_async(session: Session, channel: Channel, method: spec.Basic.RecoverAsync) -> None:
    """The same without an answer."""
    recover(session, channel, method.requeue)


def recover(session: Session, channel: Channel, requeue: bool) -> None:
    """RabbitMQ requeues, and redelivers to whoever comes first."""
    if not requeue:
        raise NotImplementedByBroker(texts.RECOVER_WITHOUT_REQUEUE)
    items = channel.collect_to(channel.last_of(0))
    settle.requeue(session, [one for _, one in items])


def finish(
    session: Session, channel: Channel, kind: str, items: list[tuple[int, Unacked]], requeue: bool
) -> None:
    """Settle ``items`` now, or at the commit of a transaction."""
    if channel.mode is Mode.TX:
        channel.tx_settled.append((kind, items, requeue))
    else:
        carry_out(session, kind, [one for _, one in items], requeue)


def finish_to(session: Session, channel: Channel, kind: str, last: int, requeue: bool) -> None:
    """Settle all messages up to tag ``last``; very many of them piece by piece, where the loop has other work.

    Raises ``Unfinished`` while there are more. What is delivered meanwhile has later tags.
    """
    most = None
    if session.sliced and channel.mode is not Mode.TX:
        most = ACKED_AT_ONCE if kind == "ack" else settle.SLICE if requeue else REFUSED_AT_ONCE
    finish(session, channel, kind, channel.collect_to(last, most), requeue)
    if most is not None and next(iter(channel.unacked), last + 1) <= last:
        raise Unfinished(functools.partial(finish_to, session, channel, kind, last, requeue))


def carry_out(session: Session, kind: str, messages: list[Unacked], requeue: bool) -> None:
    """Settle ``messages``: acknowledged, requeued, or rejected for good."""
    if kind == "ack":
        for one in messages:
            one.handle.counts[ACKED] = one.handle.counts[ACKED] + 1 & MOST
        settle.ack(session, messages)
    elif requeue:
        settle.requeue(session, messages)
    else:
        settle.reject(session, messages)
    session.outbox.soon()


__all__ = ["Taken", "carry_out", "finish"]


def _decode(session: Session, queue: str, record: bytes | Message) -> Message | None:
    """The message in ``record``; None (and a warning, and the bytes put aside) for foreign bytes."""
    if isinstance(record, Message):
        return record
    try:
        return decode(record, session.vhost.hay.nonce)
    except Foreign as error:
        session.set_aside(queue, record, error)
        return None

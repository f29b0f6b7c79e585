"""Publishing over a hybrid connection: here, there, or into the outbox of a RabbitMQ.

Owns: the way of one message.
Must not know: how it travels there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.links import parcel

if TYPE_CHECKING:
    from haypile.hybrid.channel import Channel
    from haypile.hybrid.session import HybridSession

Basic, Queue = spec.Basic, spec.Queue


def publish(session: HybridSession, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
    if channel.closed_by is not False:
        return
    name = method.exchange or method.routing_key
    rule = session.routes.rule_for("exchange" if method.exchange else "queue", name)
    side = None if rule is None else rule.to
    if side is None:
        channel.published(None)
        session.local.handle(channel.number, method, properties, body)
    elif rule is not None and rule.buffered:
        buffer(session, channel, side, method, properties, body)
    elif session.join(channel, side, method):
        channel.published(side)
        session.remotes[side].send(channel.number, method, (properties, body))


def buffer(session: HybridSession, channel: Channel, side: str, method: Any, properties: Any, body: bytes) -> None:
    """Into the outbox of ``side``, whose link brings it there."""
    session.need_links()
    queue = parcel.QUEUE.format(side)
    if queue not in session.local.vhost.topology.queues:
        session.ask(channel, None, Queue.Declare(queue=queue, durable=True), Queue.DeclareOk)
    channel.published(None)
    packed = parcel.pack(method.exchange, method.routing_key, properties)
    session.local.handle(channel.number, Basic.Publish(routing_key=queue), packed, body)

"""Direct reply-to: ``amq.rabbitmq.reply-to`` (https://www.rabbitmq.com/docs/direct-reply-to).

Owns: the pseudo-queue a requester consumes from, and the name that stands for it in requests.
Must not know: how messages travel.

RabbitMQ delivers a reply straight to the requester's channel. Here a hidden queue of the requester,
gone with its consumer, does the same; its name is the reply_to that the responder sees.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from pika import spec
from pika.spec import BasicProperties

from haypile.broker import consuming, message, texts
from haypile.broker.channel import Channel
from haypile.broker.consumer import Consumer
from haypile.broker.declare import queue as queues
from haypile.broker.errors import NotFound, PreconditionFailed
from haypile.hay.places import random_bytes

if TYPE_CHECKING:
    from haypile.broker.session import Session

NAME = "amq.rabbitmq.reply-to"
PREFIX = NAME + "."


def consume(session: Session, channel: Channel, tag: str, no_ack: bool) -> Consumer:
    """Start the reply consumer of ``channel``.

    Raises PreconditionFailed when it would acknowledge, or when the channel has one already.
    """
    if not no_ack:
        raise PreconditionFailed(texts.REPLY_CONSUMER_ACKS)
    if channel.reply_queue:
        raise PreconditionFailed(texts.REPLY_CONSUMER_SET)
    name = PREFIX + urlsafe_b64encode(random_bytes(24)).decode()
    with session.holdings.write() as moving:
        declare = spec.Queue.Declare(queue=name, auto_delete=True)
        queues.create(session.context(moving), name, declare)
    channel.reply_queue = name
    return consuming.start(session, channel, name, tag, no_ack=True, exclusive=False, arguments={})


def declare(session: Session, method: spec.Queue.Declare) -> spec.Queue.DeclareOk:
    """Whether a requester is still there: a responder may ask by declaring its reply_to.

    Raises NotFound when it is not.
    """
    topology = session.vhost.topology
    topology.sync()
    if method.queue != NAME and method.queue not in topology.queues:
        raise NotFound(texts.missing(texts.queue(method.queue, session.vhost.name)))
    return spec.Queue.DeclareOk(method.queue, 0, 1)


def address(channel: Channel, encoded: bytes) -> tuple[BasicProperties, bytes]:
    """A request's properties with the requester's own reply_to, and their encoding.

    Raises PreconditionFailed when the channel has no reply consumer.
    """
    if not channel.reply_queue:
        raise PreconditionFailed(texts.NO_REPLY_CONSUMER)
    properties = message.decode_properties(encoded)
    properties.reply_to = channel.reply_queue
    return properties, message.encode_properties(properties)

"""The table of client methods and the checks that come before any of them.

Owns: which function carries out which method; what a channel that is absent, closing or
not yet open makes of it (RabbitMQ's rabbit_reader and rabbit_channel).
Must not know: what the methods do.

A method that no handler is registered for is answered 503 COMMAND_INVALID, connection scope, as
RabbitMQ answers methods that only a server sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.spec import BasicProperties

from haypile.broker import lifecycle, shrinking, texts
from haypile.broker.channel import Channel
from haypile.broker.errors import ChannelError, CommandInvalid, NotImplementedByBroker

if TYPE_CHECKING:
    from haypile.broker.session import Session

Handler = Callable[["Session", Channel, Any], Any]
ContentHandler = Callable[["Session", Channel, Any, "BasicProperties | None", bytes], None]
ConnectionHandler = Callable[["Session", Any], None]

#: Channel methods: the result, unless None, is the reply.
CHANNEL: dict[type, Handler] = {}
#: Methods that carry content.
CONTENT: dict[type, ContentHandler] = {}
#: Methods of channel 0.
CONNECTION: dict[type, ConnectionHandler] = {}
#: Methods whose reply tells what there is.
ASKING = frozenset(
    (
        spec.Basic.Get,
        spec.Basic.Consume,
        spec.Queue.Declare,
        spec.Queue.Bind,
        spec.Queue.Purge,
        spec.Queue.Delete,
        spec.Exchange.Delete,
    )
)


def handles(method: type) -> Callable[[Handler], Handler]:
    """Register a channel method's handler."""

    def register(handler: Handler) -> Handler:
        CHANNEL[method] = handler
        return handler

    return register


def dispatch(
    session: Session, number: int, method: Any, properties: BasicProperties | None, body: bytes
) -> None:
    """Carry out ``method``.

    Raises AMQPError for whatever RabbitMQ would close the channel or the connection for.
    """
    kind = method.__class__
    if session.closing:
        if kind is spec.Connection.Close:
            session.outbox.method(0, spec.Connection.CloseOk())
        return
    if number == 0:
        on_connection = CONNECTION.get(kind)
        if on_connection is None:
            raise ChannelError(texts.WRONG_STATE)
        on_connection(session, method)
        return
    if kind in ASKING:
        session.due.catch_up()
    channel = session.channels.get(number)
    if channel is None:
        if kind is spec.Channel.Open:
            session.channels[number] = Channel(session, number)
            session.outbox.method(number, spec.Channel.OpenOk())
            return
        raise ChannelError(texts.EXPECTED_OPEN)
    if channel.closing:
        if kind is spec.Channel.CloseOk:
            del session.channels[number]
        elif kind is spec.Channel.Close:
            del session.channels[number]
            session.outbox.method(number, spec.Channel.CloseOk())
        return
    with_content = CONTENT.get(kind)
    if with_content is not None:
        with_content(session, channel, method, properties, body)
        return
    handler = CHANNEL.get(kind)
    if handler is None:
        raise CommandInvalid(texts.UNIMPLEMENTED)
    reply = handler(session, channel, method)
    if reply is not None:
        session.outbox.method(number, reply)


@handles(spec.Channel.Open)
def channel_open(session: Session, channel: Channel, method: spec.Channel.Open) -> None:
    """A second open of an open channel."""
    raise ChannelError(texts.SECOND_OPEN)


@handles(spec.Channel.Close)
def channel_close(session: Session, channel: Channel, method: spec.Channel.Close) -> spec.Channel.CloseOk:
    """The client ends the channel: what it holds goes back to the queues."""
    shrinking.part_from(session, channel.consumers.values())
    lifecycle.release(session, channel)
    del session.channels[channel.number]
    return spec.Channel.CloseOk()


@handles(spec.Access.Request)
def access_request(session: Session, channel: Channel, method: spec.Access.Request) -> spec.Access.RequestOk:
    """AMQP 0-8's tickets: RabbitMQ gives everybody the same."""
    return spec.Access.RequestOk(1)


@handles(spec.Channel.Flow)
def channel_flow(session: Session, channel: Channel, method: spec.Channel.Flow) -> spec.Channel.FlowOk:
    """RabbitMQ has no consumer flow control but basic.qos."""
    if not method.active:
        raise NotImplementedByBroker(texts.FLOW_INACTIVE)
    return spec.Channel.FlowOk(active=True)

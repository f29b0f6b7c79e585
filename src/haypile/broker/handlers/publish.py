"""basic.publish: checks, routing, confirms, returns.

Owns: RabbitMQ's rules for a publish (rabbit_channel), in its order.
Must not know: lanes, the store (``publisher``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pika import spec
from pika.spec import BasicProperties

from haypile.broker import firehose, message, texts
from haypile.broker.aside import Aside
from haypile.broker.channel import Channel, Mode
from haypile.broker.errors import FrameError, NotImplementedByBroker, PreconditionFailed
from haypile.broker.handlers import reply_to
from haypile.broker.handlers.registry import CONTENT
from haypile.broker.pressure import Congested, Unfinished
from haypile.broker.properties import check
from haypile.broker.queue import QueueHandle
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.haste import PAUSE

if TYPE_CHECKING:
    from haypile.broker.session import Session

_Publish = spec.Basic.Publish
_Ack = spec.Basic.Ack

#: Reply of a message that no queue wanted (AMQP 0-9-1, basic.return).
NO_ROUTE = 312


class Prepared(NamedTuple):
    """A message routed and checked, not yet stored."""

    method: spec.Basic.Publish
    handles: tuple[QueueHandle, ...]
    prefix: bytes
    properties: BasicProperties | None
    encoded: bytes
    body: bytes
    tag: int
    kept: Aside | None


def basic_publish(
    session: Session,
    channel: Channel,
    method: spec.Basic.Publish,
    properties: BasicProperties | None,
    body: bytes,
) -> None:
    """Route and store one message."""
    if method.immediate:
        raise NotImplementedByBroker(texts.IMMEDIATE)
    if len(body) > message.MAX_BODY:
        raise PreconditionFailed(texts.message_too_large(len(body), message.MAX_BODY))
    mode = channel.mode
    if method.mandatory or mode is Mode.CONFIRM:
        session.due.settle_late()  # who is told where the message went must not be told of a queue that has expired
    encoded = message.encode_properties(properties)
    if len(encoded) + message.HEADER_FIELDS > message.MAX_HEADER:
        raise FrameError(texts.header_too_large(len(encoded) + message.HEADER_FIELDS, message.MAX_HEADER - 8))
    if encoded and properties is not None and properties.reply_to == reply_to.NAME:
        properties, encoded = reply_to.address(channel, encoded)
    handles, prefix, kept = session.publisher.route(method.exchange, method.routing_key, properties)
    if encoded and properties is not None:
        check(properties, session.user)
    if encoded and properties is not None and properties.headers is not None and "BCC" in properties.headers:
        properties = message.decode_properties(encoded)
        del properties.headers["BCC"]
        encoded = message.encode_properties(properties)
    # Before the publish counts: it may have to be tried again.
    batch = session.batch
    if mode is Mode.CONFIRM and kept is None and batch.takes(handles, properties):
        batch.add(channel, handles, prefix, properties, encoded, body)
        return
    if batch.items:
        if mode is Mode.PLAIN and kept is None and batch.follows(handles):
            batch.add(None, handles, prefix, properties, encoded, body)
            return
        batch.go_first()
    pressure = session.pressure
    sent = pressure.foreign and mode is not Mode.TX and pressure.send(handles, properties, body)
    if kept is not None and kept.traced:
        firehose.published(session, channel.number, method.exchange, kept.keys, handles, properties, body)
        kept = kept.untraced()
    tag = 0
    if mode is not Mode.PLAIN:
        channel.publish_tag = tag = channel.publish_tag + 1
        if mode is Mode.TX:
            channel.tx_publishes.append(Prepared(method, handles, prefix, properties, encoded, body, tag, kept))
            return
    if handles and kept is None:
        if sent:
            accepted = pressure.was_sent(handles)
        else:
            try:
                together = mode is Mode.PLAIN and session.sliced
                accepted = session.publisher.publish(
                    handles, prefix, properties, encoded, body, together=together, passing=mode is Mode.PLAIN
                )
            except Congested as error:
                raise error.then(later(session, channel, tag)) from None
        if mode is Mode.CONFIRM:
            confirm(session, channel, tag, accepted)
        return
    deliver(session, channel, Prepared(method, handles, prefix, properties, encoded, body, tag, kept))


def deliver(session: Session, channel: Channel, prepared: Prepared) -> None:
    """Store what was prepared, return it when nobody wants it, confirm it."""
    method = prepared.method
    accepted = True
    if prepared.kept is not None:
        try:
            session.publisher.keep(prepared.kept, prepared.prefix, prepared.properties, prepared.encoded, prepared.body)
        except OutOfRoom as error:
            raise Congested(str(error), functools.partial(deliver, session, channel, prepared)) from None
        except Busy:
            raise Unfinished(functools.partial(deliver, session, channel, prepared), PAUSE) from None
        prepared = prepared._replace(kept=None)
    if prepared.handles:
        try:
            accepted = session.publisher.publish(
                prepared.handles, prepared.prefix, prepared.properties, prepared.encoded, prepared.body
            )
        except Congested as error:
            raise error.then(later(session, channel, prepared.tag)) from None
    elif method.mandatory:
        returned = spec.Basic.Return(NO_ROUTE, "NO_ROUTE", method.exchange, method.routing_key)
        properties = message.decode_properties(prepared.encoded)
        session.outbox.contents(channel.number, ((returned, properties, prepared.body),))
    if channel.mode is Mode.CONFIRM:
        confirm(session, channel, prepared.tag, accepted)


def later(session: Session, channel: Channel, tag: int) -> Callable[[bool], None] | None:
    """What is to be done when a publish that has to wait was stored."""
    if channel.mode is not Mode.CONFIRM:
        return None
    return functools.partial(confirm, session, channel, tag)


def confirm(session: Session, channel: Channel, tag: int, accepted: bool) -> None:
    """Tell the publisher that its message is safe, as soon as it is, or was refused."""
    if session.journaling.must_wait():
        session.journaling.hold(channel, tag, accepted)
        return
    session.outbox.method(channel.number, _Ack(tag) if accepted else spec.Basic.Nack(tag, False, False))


CONTENT[_Publish] = basic_publish

"""How channels and connections end, and the one place where an error becomes a Close.

Owns: Channel.Close and Connection.Close in both directions, server-sent Basic.Cancel.
Must not know: what the methods that failed were about.

After an error of channel scope RabbitMQ closes the channel: its consumers go, its unacked
messages are requeued, and everything the client still sends on it is ignored until
Channel.CloseOk (AMQP 0-9-1, 1.5.2.5). An error of connection scope ends the connection likewise.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker import consuming, settle
from haypile.broker.errors import AMQPError, Scope

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
    from haypile.broker.session import Session
    from haypile.broker.source import Source

LOGGER = logging.getLogger("haypile")


def fail(session: Session, number: int, method: Any, error: AMQPError) -> None:
    """Tell the client of ``error`` and end what it ends."""
    class_id, method_id = divmod(getattr(method, "INDEX", 0), 0x10000) if error.blames_method else (0, 0)
    if error.scope is Scope.CHANNEL and number in session.channels:
        LOGGER.info(
            "channel %d of connection %s closed: %d %s", number, session.name, error.reply_code, error.reply_text
        )
        channel = session.channels[number]
        release(session, channel)
        channel.closing = True
        session.outbox.method(
            number, spec.Channel.Close(error.reply_code, error.reply_text, class_id, method_id)
        )
        return
    LOGGER.info("connection %s closed: %d %s", session.name, error.reply_code, error.reply_text)
    session.closing = True
    for channel in list(session.channels.values()):
        release(session, channel)
    session.outbox.method(0, spec.Connection.Close(error.reply_code, error.reply_text, class_id, method_id))


def release(session: Session, channel: Channel) -> None:
    """Give back all that ``channel`` holds: consumers gone, unacked messages requeued."""
    for consumer in list(channel.consumers.values()):
        consuming.stop(session, channel, consumer)
    unacked = list(channel.unacked.values())
    for _, items, _ in channel.tx_settled:
        unacked.extend(one for _, one in items)
    channel.tx_settled.clear()
    channel.tx_publishes.clear()
    channel.unacked.clear()
    channel.consumers_unacked = 0
    settle.requeue(session, unacked)


def cancel_deleted(session: Session, source: Source) -> None:
    """The queue of ``source`` was deleted: its consumers hear of it.

    https://www.rabbitmq.com/docs/consumer-cancel
    """
    source.unwatch()
    for consumer in list(source.consumers):
        source.remove(consumer)
        consumer.channel.consumers.pop(consumer.tag, None)
        if not consumer.channel.closing:
            session.outbox.method(consumer.channel.number, spec.Basic.Cancel(consumer.tag, True))
    session.sources.pop(source.handle.id, None)

"""A program that type-checks against pika, and so must against haypile. Checked by mypy, never run."""

import asyncio
import functools
import logging
from collections.abc import Callable

import haypile as pika
from haypile.adapters.asyncio_connection import AsyncioConnection
from haypile.adapters.blocking_connection import BlockingChannel, BlockingConnection
from haypile.adapters.select_connection import IOLoop, SelectConnection
from haypile.adapters.utils.connection_workflow import AbstractAMQPConnectionWorkflow, AMQPConnectorException
from haypile.channel import Channel
from haypile.connection import Connection, Parameters, URLParameters
from haypile.credentials import ExternalCredentials, PlainCredentials
from haypile.delivery_mode import DeliveryMode
from haypile.exceptions import AMQPConnectionError, ChannelClosedByBroker, UnroutableError
from haypile.exchange_type import ExchangeType
from haypile.frame import Method
from haypile.spec import Basic, BasicProperties, Queue

LOGGER = logging.getLogger(__name__)


def parameters(url: str | None) -> Parameters:
    """Any kind of them."""
    if url:
        return URLParameters(url)
    return pika.ConnectionParameters(
        host="localhost",
        port=5672,
        virtual_host="/",
        credentials=PlainCredentials("guest", "guest") if url is None else ExternalCredentials(),
        heartbeat=30,
        blocked_connection_timeout=300.0,
        client_properties={"connection_name": "typed"},
    )


def on_message(
    channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes, *, prefix: str
) -> None:
    """A callback with every annotation a program may write."""
    LOGGER.info("%s %s %r %r", prefix, method.routing_key, properties.headers, body)
    channel.basic_ack(delivery_tag=method.delivery_tag, multiple=False)


def blocking(url: str | None) -> int:
    """Blocking calls and their results."""
    connection: BlockingConnection = pika.BlockingConnection(parameters(url))
    channel: BlockingChannel = connection.channel()
    channel.exchange_declare("logs", exchange_type=ExchangeType.topic, durable=True)
    declared: Method[Queue.DeclareOk] = channel.queue_declare("queue", arguments={"x-max-length": 5})
    channel.queue_bind("queue", "logs", routing_key="#")
    channel.confirm_delivery()
    try:
        channel.basic_publish(
            exchange="logs",
            routing_key="a.b",
            body=b"body",
            properties=pika.BasicProperties(delivery_mode=DeliveryMode.Persistent.value, headers={"a": 1}),
            mandatory=True,
        )
    except (UnroutableError, pika.exceptions.NackError) as error:
        LOGGER.warning("%r", error)
    except ChannelClosedByBroker as error:
        LOGGER.error("%d %s", error.reply_code, error.reply_text)
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("queue", functools.partial(on_message, prefix="got"))
    for method, properties, body in channel.consume("queue", inactivity_timeout=1.0):
        if method is None or properties is None or body is None:
            break
    connection.call_later(1.0, channel.stop_consuming)
    connection.add_callback_threadsafe(lambda: None)
    channel.start_consuming()
    with pika.BlockingConnection() as other, other.channel() as second:
        got, _, _ = second.basic_get("queue", auto_ack=True)
        LOGGER.info("%r", got)
    connection.close()
    count: int = declared.method.message_count
    return count


class Consumer:
    """The asynchronous kind."""

    def __init__(self, url: str, done: Callable[[int], None]) -> None:
        self.done = done
        self.connection: SelectConnection = pika.SelectConnection(
            pika.URLParameters(url), on_open_callback=self.opened, on_open_error_callback=self.failed
        )
        self.loop: IOLoop = self.connection.ioloop

    def opened(self, connection: Connection) -> None:
        """Open."""
        connection.channel(on_open_callback=self.channel_open)

    def failed(self, connection: Connection, error: BaseException) -> None:
        """Not."""
        if isinstance(error, AMQPConnectionError | AMQPConnectorException):
            self.loop.stop()

    def channel_open(self, channel: pika.channel.Channel) -> None:
        """The channel, too."""
        channel.queue_declare("queue", callback=lambda frame: self.done(frame.method.message_count))


class AsyncConsumer:
    """The asyncio kind, and pika's connection workflow."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connection: AsyncioConnection = AsyncioConnection(
            parameters(None),
            on_open_callback=self.opened,
            on_open_error_callback=self.failed,
            on_close_callback=self.failed,
            custom_ioloop=loop,
        )
        self.workflow: AbstractAMQPConnectionWorkflow = SelectConnection.create_connection(
            [parameters(None), pika.URLParameters("amqp://localhost")], on_done=self.done
        )

    def opened(self, connection: Connection) -> None:
        """Open."""
        connection.channel(channel_number=1, on_open_callback=self.channel_open)

    def failed(self, connection: Connection, error: BaseException) -> None:
        """Not, or not any more."""
        self.loop.call_soon_threadsafe(self.loop.stop)

    def done(self, result: Connection | AMQPConnectorException) -> None:
        """The workflow's end."""
        if isinstance(result, Connection):
            result.close(200, "enough")

    def channel_open(self, channel: Channel) -> None:
        """Consume."""
        channel.basic_qos(prefetch_count=10, callback=None)
        tag: str = channel.basic_consume("queue", self.on_message, exclusive=True)
        channel.add_on_cancel_callback(lambda frame: self.loop.stop())
        LOGGER.info("%s", tag)

    def on_message(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        """One."""
        channel.basic_nack(method.delivery_tag, requeue=not method.redelivered)


if __name__ == "__main__":
    pika.install("posix:///typed")
    blocking(None)
    pika.uninstall()

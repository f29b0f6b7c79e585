"""pika's AsyncioConnection with futures in place of callbacks: what both programs here need, and no more."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection


class Client:
    """A connection with one channel, for ``async with``."""

    async def __aenter__(self) -> "Client":
        """Connect."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()
        self.closed: asyncio.Future[Any] = loop.create_future()
        self.connection = AsyncioConnection(
            pika.URLParameters(os.environ.get("AMQP_URL", "amqp://localhost")),
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
            on_close_callback=lambda connection, error: self.closed.set_result(error),
        )
        await opened
        channel: asyncio.Future[Any] = loop.create_future()
        self.connection.channel(on_open_callback=channel.set_result)
        self.channel = await channel
        self.published = 0
        self.unconfirmed: dict[int, asyncio.Future[None]] = {}
        await self.call(self.channel.confirm_delivery, self._confirmed)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, and wait until it is closed."""
        if self.connection.is_open:
            self.connection.close()
        await self.closed

    async def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method of pika's, and wait for its callback."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        method(*arguments, callback=reply.set_result, **options)
        return await reply

    async def declare(self, queue: str) -> None:
        """A durable queue."""
        await self.call(self.channel.queue_declare, queue, durable=True)

    async def publish(self, queue: str, body: bytes) -> None:
        """Publish a persistent message and wait for its confirm. Raises when the broker refuses it."""
        self.published += 1
        confirmed = self.unconfirmed[self.published] = asyncio.get_running_loop().create_future()
        self.channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
        await confirmed

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self.unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            future = self.unconfirmed.pop(tag)
            if isinstance(method, pika.spec.Basic.Ack):
                future.set_result(None)
            else:
                future.set_exception(RuntimeError(f"message {tag} was refused"))

    async def messages(self, queue: str, prefetch: int) -> AsyncIterator[tuple[int, bytes]]:
        """Delivery tag and body of each message; at most ``prefetch`` are on their way."""
        came: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.channel.basic_qos(prefetch_count=prefetch)
        self.channel.basic_consume(
            queue, lambda channel, method, properties, body: came.put_nowait((method.delivery_tag, body))
        )
        while True:
            yield await came.get()

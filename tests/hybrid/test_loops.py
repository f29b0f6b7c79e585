"""One hybrid program under several loops, and on a RabbitMQ alone: the same happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika
import pytest

import haypile
from haypile.adapters import asyncio_connection, tornado_connection

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(60)]

HYBRID = "hybrid:///mixed"


class Program:
    """Declares, binds, publishes to both with confirms, consumes both, acknowledges all by one method, and closes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.bodies: set[bytes] = set()
        self.confirmed: set[int] = set()
        self.tags: list[int] = []
        self.stop: Callable[[], None]
        self.channel: Any

    def opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self.ready)

    def ready(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(lambda _, method, __, body: self.told.append(f"returned {method.routing_key}"))
        channel.basic_qos(prefetch_count=100)
        channel.exchange_declare("far.events", "topic")
        channel.queue_declare("near", callback=lambda _: self.told.append("near is there"))
        channel.queue_declare("far", callback=lambda _: self.told.append("far is there"))
        channel.queue_bind("far", "far.events", "a.#")
        channel.confirm_delivery(self.confirm, self.begin)

    def begin(self, _: Any) -> None:
        for number in range(20):
            self.channel.basic_publish("", ("near", "far")[number % 2], b"%d" % number)
        self.channel.basic_publish("far.events", "a.b", b"routed")
        self.channel.basic_publish("", "far.nowhere", b"x", mandatory=True)
        for queue in ("near", "far"):
            self.channel.basic_consume(queue, self.take)

    def confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        self.confirmed |= set(range(1, tag + 1)) if frame.method.multiple else {tag}
        self.go_on()

    def take(self, _: Any, method: Any, __: Any, body: bytes) -> None:
        self.tags.append(method.delivery_tag)
        self.bodies.add(body)
        self.go_on()

    def go_on(self) -> None:
        if len(self.bodies) == 21 and len(self.confirmed) == 22:
            self.channel.basic_ack(0, multiple=True)
            # Nothing is left in either, so both may go.
            self.channel.queue_delete("near", if_empty=True, callback=self.deleted)
            self.channel.queue_delete("far", if_empty=True, callback=self.deleted)
            self.channel.exchange_delete("far.events")
            self.confirmed.clear()
            self.channel.queue_declare("far.wrong", passive=True)
            self.channel.add_on_close_callback(self.closed)

    def deleted(self, frame: Any) -> None:
        self.told.append(f"deleted, {frame.method.message_count} left")

    def closed(self, channel: Any, error: Any) -> None:
        self.told.append(f"{error.reply_code} {error.reply_text.split(' in vhost')[0]}")
        channel.connection.close()

    def ended(self, _: Any, error: Any) -> None:
        self.told.append(type(error).__name__)
        self.stop()


def run_select(program: Program, parameters: Any) -> None:
    connection: Any = haypile.SelectConnection(
        parameters, program.opened, on_open_error_callback=program.ended, on_close_callback=program.ended
    )
    program.stop = connection.ioloop.stop
    connection.ioloop.call_later(30, connection.ioloop.stop)
    connection.ioloop.start()


def run_asyncio(program: Program, parameters: Any) -> None:
    async def main() -> None:
        ended = asyncio.Event()
        program.stop = ended.set
        asyncio_connection.AsyncioConnection(
            parameters, program.opened, on_open_error_callback=program.ended, on_close_callback=program.ended
        )
        await asyncio.wait_for(ended.wait(), 30)

    asyncio.run(main())


def run_tornado(program: Program, parameters: Any) -> None:
    from tornado.ioloop import IOLoop

    async def main() -> None:
        ended = asyncio.Event()
        program.stop = ended.set
        tornado_connection.TornadoConnection(
            parameters, program.opened, on_open_error_callback=program.ended, on_close_callback=program.ended
        )
        await asyncio.wait_for(ended.wait(), 30)

    loop = IOLoop(make_current=False)
    try:
        loop.run_sync(main)
    finally:
        loop.close()


@pytest.mark.parametrize("run", [run_select, run_asyncio, run_tornado])
@pytest.mark.parametrize("where", ["hybrid", "rabbitmq"])
def test_the_same_under_each_loop(where: str, run: Callable[..., None], central: str, state_directory: Any) -> None:
    """Replies, confirms, deliveries and errors."""
    program = Program()
    if where == "hybrid":
        run(program, haypile.URLParameters(HYBRID))
    else:
        run(program, haypile.parameters.URLParameters(central, outright=True))
    assert program.told[-1] == "ConnectionClosedByClient"
    assert sorted(program.told) == sorted(
        [
            "near is there",
            "far is there",
            "returned far.nowhere",
            "deleted, 0 left",
            "deleted, 0 left",
            "404 NOT_FOUND - no queue 'far.wrong'",
            "ConnectionClosedByClient",
        ]
    )
    assert program.tags == list(range(1, 22))
    assert program.bodies == {*(b"%d" % number for number in range(20)), b"routed"}
    assert isinstance(program.channel, pika.channel.Channel)

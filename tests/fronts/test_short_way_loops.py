"""The short way on an event loop: taken there, too, and left as soon as anything it rests on changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pika import exceptions

import haypile
from haypile.adapters.asyncio_connection import AsyncioConnection
from haypile.adapters.select_connection import SelectConnection
from haypile.wires import ways
from tests.fronts.conftest import Connect
from tests.fronts.test_short_way import ODD, outcome
from tests.support.vhosts import Vhost


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way is looked for after every long publish."""
    monkeypatch.setattr(ways, "WAY_EVERY", 1)


class Publisher:
    """A channel of an AsyncioConnection, and a loop that turns when it is told to."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        opened, channel = self.loop.create_future(), self.loop.create_future()
        self.connection = self.wait(self.connect(url, opened))
        self.wait(opened)
        self.connection.channel(on_open_callback=channel.set_result)
        self.channel: Any = self.wait(channel)

    async def connect(self, url: str, opened: Any) -> Any:
        """Within the loop."""
        return AsyncioConnection(haypile.URLParameters(url), on_open_callback=opened.set_result)

    def wait(self, work: Any) -> Any:
        """Turn the loop until ``work`` is done."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def turn(self, seconds: float = 0) -> None:
        """Turn the loop."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a method of the channel, and wait for its reply."""
        reply = self.loop.create_future()
        method(*arguments, callback=reply.set_result, **options)
        return self.wait(reply)

    def close(self) -> None:
        """All of it."""
        if self.connection.is_open:
            closed = self.loop.create_future()
            self.connection.add_on_close_callback(lambda connection, error: closed.set_result(error))
            self.connection.close()
            self.wait(closed)
        if not self.loop.is_closed():
            self.turn()
            self.loop.close()


class Pair:
    """A publisher that has taken the short way to queue q, and the consumer of q."""

    def __init__(self, connect: Connect, url: str, local: bool) -> None:
        self.consumer = connect().channel()
        self.consumer.queue_declare("q")
        self.publisher = Publisher(url)
        self.channel = self.publisher.channel
        self.taken: list[bytes] = []
        self.consume()
        self.sent = 0
        self.publish(5)
        self.settle()
        self.publish(5)
        assert bool(self.ways) is local
        self.settle()

    @property
    def ways(self) -> dict[Any, Any]:
        """What the publisher knows."""
        return getattr(self.channel, "ways", {})

    def consume(self) -> None:
        """All that comes."""
        self.consumer.basic_consume("q", lambda c, m, p, body: self.taken.append(body), auto_ack=True)

    def publish(self, count: int = 1, exchange: str = "", key: str = "q") -> None:
        """More messages."""
        for _ in range(count):
            self.channel.basic_publish(exchange, key, b"%d" % self.sent)
            self.sent += 1

    def settle(self) -> None:
        """Until all that was sent has come, in order."""
        deadline = time.monotonic() + 20
        while len(self.taken) < self.sent and time.monotonic() < deadline:
            self.publisher.turn()
            self.consumer.connection.process_data_events(0.01)
        assert self.taken == [b"%d" % number for number in range(self.sent)]


@pytest.fixture
def pair(connect: Connect, vhost: Vhost) -> Iterator[Pair]:
    """See ``Pair``."""
    pair = Pair(connect, vhost.url, vhost.transport != "amqp")
    yield pair
    pair.publisher.close()


def test_order_through_every_change_of_way(pair: Pair) -> None:
    """Full lanes, detours through the store and back."""
    for _ in range(20):
        pair.publish(200)
        pair.settle()


def test_the_consumer_leaves_and_comes_back(pair: Pair) -> None:
    pair.consumer.basic_cancel(pair.consumer.consumer_tags[0])
    pair.publish(3)
    deadline = time.monotonic() + 20
    count = 0
    while count < 3 and time.monotonic() < deadline:  # RabbitMQ answers before it has counted
        count = pair.publisher.ask(pair.channel.queue_declare, "q", passive=True).method.message_count
    assert count == 3
    pair.consume()
    pair.publish(3)
    pair.settle()


def test_another_queue_is_bound(pair: Pair, connect: Connect) -> None:
    """To the same exchange and key, by somebody else: the next message goes to both."""
    other = connect().channel()
    other.exchange_declare("e", "direct")
    other.queue_bind("q", "e", "k")
    pair.publish(5, "e", "k")
    pair.settle()
    other.queue_declare("two")
    other.queue_bind("two", "e", "k")
    pair.publish(5, "e", "k")
    pair.settle()
    got: list[bytes] = []
    deadline = time.monotonic() + 20
    while len(got) < 5 and time.monotonic() < deadline:
        _, _, body = other.basic_get("two", auto_ack=True)
        got += [] if body is None else [body]
    assert got == [b"%d" % number for number in range(pair.sent - 5, pair.sent)]
    assert other.basic_get("two") == (None, None, None)


def test_confirms_begin(pair: Pair) -> None:
    """Every message is confirmed from then on."""
    confirmed: set[int] = set()

    def confirm(frame: Any) -> None:
        assert isinstance(frame.method, haypile.spec.Basic.Ack)
        tag = frame.method.delivery_tag
        confirmed.update(range(1, tag + 1) if frame.method.multiple else (tag,))

    pair.publisher.ask(pair.channel.confirm_delivery, confirm)
    pair.publish(20)
    pair.settle()
    deadline = time.monotonic() + 20
    while len(confirmed) < 20 and time.monotonic() < deadline:
        pair.publisher.turn(0.01)
    assert confirmed == set(range(1, 21))
    assert not pair.ways


@pytest.mark.parametrize("end", ["tx_rollback", "tx_commit"])
def test_a_transaction_begins(pair: Pair, end: str) -> None:
    pair.publisher.ask(pair.channel.tx_select)
    pair.channel.basic_publish("", "q", b"in a transaction")
    pair.publisher.ask(getattr(pair.channel, end))
    if end == "tx_commit":
        deadline = time.monotonic() + 20
        while len(pair.taken) == pair.sent and time.monotonic() < deadline:
            pair.consumer.connection.process_data_events(0.01)
        assert pair.taken.pop() == b"in a transaction"
    pair.settle()


def test_the_channel_is_closed_by_the_broker(pair: Pair) -> None:
    """What is published in the same turn of the loop is ignored, and what comes later refused."""
    closed = pair.publisher.loop.create_future()
    pair.channel.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
    pair.channel.queue_declare("not there", passive=True)
    for _ in range(3):
        pair.channel.basic_publish("", "q", b"late")
    assert isinstance(pair.publisher.wait(closed), exceptions.ChannelClosedByBroker)
    with pytest.raises(exceptions.ChannelWrongStateError):
        pair.channel.basic_publish("", "q", b"later")
    pair.consumer.connection.process_data_events(0.2)
    pair.settle()


@pytest.mark.followed
def test_the_connection_is_closed_by_the_broker(pair: Pair) -> None:
    """What is published in the same turn of the loop, behind the mistake, is ignored."""
    closed = pair.publisher.loop.create_future()
    pair.publisher.connection.add_on_close_callback(lambda connection, reason: closed.set_result(reason))
    pair.channel.exchange_declare("e", "nonsense")
    for _ in range(3):
        pair.channel.basic_publish("", "q", b"late")
    assert isinstance(pair.publisher.wait(closed), exceptions.ConnectionClosedByBroker)
    pair.consumer.connection.process_data_events(0.2)
    assert pair.taken == [b"%d" % number for number in range(pair.sent)]


def test_the_channel_and_the_connection_are_closed(pair: Pair) -> None:
    closed = pair.publisher.loop.create_future()
    pair.channel.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
    pair.channel.close()
    with pytest.raises(exceptions.ChannelWrongStateError, match="closing"):
        pair.channel.basic_publish("", "q", b"late")
    pair.publisher.wait(closed)
    with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
        pair.channel.basic_publish("", "q", b"late")
    pair.publisher.close()
    with pytest.raises(exceptions.ChannelWrongStateError, match="closed"):
        pair.channel.basic_publish("", "q", b"late")
    pair.consumer.connection.process_data_events(0.2)
    assert pair.taken == [b"%d" % number for number in range(pair.sent)]


@pytest.mark.parametrize("case", ODD)
def test_odd_arguments_after_the_short_way(pair: Pair, case: tuple[Any, Any, Any]) -> None:
    """As before it: taken, or refused by the same exception."""
    with_ways = outcome(pair.channel.basic_publish, case)
    pair.ways.clear()
    assert outcome(pair.channel.basic_publish, case) == with_ways


def test_large_ones_between_small_ones(pair: Pair) -> None:
    sizes = [10, 100_000, 10, 9000, 0, 10]
    for size in sizes:
        pair.channel.basic_publish("", "q", b"x" * size)
    deadline = time.monotonic() + 20
    while len(pair.taken) < pair.sent + len(sizes) and time.monotonic() < deadline:
        pair.publisher.turn()
        pair.consumer.connection.process_data_events(0.01)
    assert [len(body) for body in pair.taken[-len(sizes) :]] == sizes


def test_as_many_ways_as_may_be(pair: Pair, monkeypatch: pytest.MonkeyPatch, connect: Connect) -> None:
    """A program that publishes to ever new names does not collect their ways."""
    monkeypatch.setattr(ways, "WAYS", 3)
    names = [pair.publisher.ask(pair.channel.queue_declare, f"one of {number}").method.queue for number in range(8)]
    consumer = connect().channel()
    got: list[bytes] = []
    for name in names:
        consumer.basic_consume(name, lambda c, m, p, body: got.append(body), auto_ack=True)
    for name in names * 3:
        pair.channel.basic_publish("", name, name.encode())
        assert len(pair.ways) <= 3
        deadline = time.monotonic() + 20
        while (not got or got[-1] != name.encode()) and time.monotonic() < deadline:
            pair.publisher.turn()
            consumer.connection.process_data_events(0.01)
    assert got == [name.encode() for name in names * 3]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_channel_is_pikas(transport: str, make_vhost: Callable[[str], Vhost], state_directory: Any) -> None:
    """By its class and its text; a subclass of the program's is left alone."""
    url = make_vhost(transport).url

    class Mine(haypile.channel.Channel):  # type: ignore[misc]
        """A program's own channel."""

    class Connection(SelectConnection):
        """Which makes them."""

        def _create_channel(self, number: int, on_open: Any) -> Mine:
            return Mine(self, number, on_open)

    for kind in (SelectConnection, Connection):
        opened: list[Any] = []
        connection = kind(
            haypile.URLParameters(url), on_open_callback=lambda c, o=opened: c.channel(on_open_callback=o.append)
        )
        deadline = time.monotonic() + 20
        while not opened and time.monotonic() < deadline:
            connection.ioloop.call_later(0.01, connection.ioloop.stop)
            connection.ioloop.start()
        (channel,) = opened
        assert isinstance(channel, haypile.channel.Channel)
        assert (type(channel) is Mine) is (kind is Connection)
        assert repr(channel).startswith("<Mine number=1" if kind is Connection else "<Channel number=1")
        connection.close()
        while not connection.is_closed and time.monotonic() < deadline:
            connection.ioloop.call_later(0.01, connection.ioloop.stop)
            connection.ioloop.start()

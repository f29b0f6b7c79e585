"""The short way of messages: taken, and left as soon as anything it rests on changes.

The same on a RabbitMQ, where there is no short way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from pika import exceptions

import haypile
from haypile import BasicProperties
from haypile.fronts.select import EagerSelectConnection
from haypile.wires import ways
from haypile.wires.local import LocalWire
from tests.fronts.conftest import Connect
from tests.support.vhosts import Vhost


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way is looked for after every long publish."""
    monkeypatch.setattr(ways, "WAY_EVERY", 1)


def drain(consumer: Any, count: int, queue: str = "q") -> list[bytes]:
    """``count`` messages, auto-acknowledged."""
    got = []
    for method, _, body in consumer.consume(queue, auto_ack=True, inactivity_timeout=5):
        if method is None:
            break
        got.append(body)
        if len(got) == count:
            break
    return got


class Pair:
    """A publisher that has taken the short way to queue q, and the consumer of q."""

    def __init__(self, connect: Connect, local: bool) -> None:
        self.consumer = connect().channel()
        self.consumer.queue_declare("q")
        self.publisher = connect().channel()
        self.taken: list[bytes] = []
        self.properties: list[Any] = []
        self.consumer.basic_consume("q", self.take, auto_ack=True)
        self.sent = 0
        self.publish(5)
        self.settle()
        self.publish(5)
        assert ("" in {exchange for exchange, _ in self.ways}) is local
        self.settle()

    @property
    def ways(self) -> dict[Any, Any]:
        """What the publisher knows."""
        return getattr(self.publisher, "ways", {})

    def take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """A message came."""
        self.properties.append(properties)
        self.taken.append(body)

    def publish(self, count: int = 1, properties: Any = None) -> None:
        """More messages."""
        for _ in range(count):
            self.publisher.basic_publish("", "q", b"%d" % self.sent, properties)
            self.sent += 1

    def settle(self) -> None:
        """Until all that was sent has come, in order."""
        for _ in range(1000):
            self.consumer.connection.process_data_events(0.01)
            if len(self.taken) >= self.sent:
                break
        assert self.taken == [b"%d" % number for number in range(self.sent)]


@pytest.fixture
def pair(connect: Connect, vhost: Vhost) -> Pair:
    """See ``Pair``."""
    return Pair(connect, vhost.transport != "amqp")


#: Properties, and whether messages with them may go the short way.
PROPERTIES = [
    (BasicProperties(), True),
    (BasicProperties(delivery_mode=1, content_type="text/plain"), True),
    (BasicProperties(delivery_mode=2, content_encoding="ütf"), True),
    (BasicProperties(priority=7, timestamp=1 << 40, app_id="a", cluster_id="c"), True),
    (BasicProperties(message_id="m", correlation_id="c" * 255, reply_to="r", type="t"), True),
    (BasicProperties(user_id="guest"), False),
    (BasicProperties(expiration="60000"), True),
    (BasicProperties(headers={"a": [1, None]}), False),
]


@pytest.mark.parametrize(("properties", "short"), PROPERTIES)
def test_properties_come_as_they_were_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, properties: BasicProperties, short: bool
) -> None:
    """By the short way, where they ask for no more than a place and a time, as by the long one; it is found again."""
    long: list[Any] = []
    publish = LocalWire.publish

    def counted(self: LocalWire, *arguments: Any) -> None:
        long.append(arguments)
        publish(self, *arguments)

    monkeypatch.setattr(LocalWire, "publish", counted)
    for _ in range(3):
        pair.publish(2, properties)
        pair.publish()
    pair.settle()
    assert pair.properties[-9:] == [properties, properties, BasicProperties()] * 3
    if pair.ways:
        assert len(long) == (0 if short else 6)


def test_properties_that_change_between_two_messages(pair: Pair) -> None:
    """The same object, and what was delivered is another one."""
    properties = BasicProperties(message_id="0")
    for number in range(5):
        properties.message_id = str(number)
        pair.publish(1, properties)
    pair.settle()
    assert [one.message_id for one in pair.properties[-5:]] == ["0", "1", "2", "3", "4"]
    pair.properties[-1].content_type = "mine"
    pair.publish(1, properties)
    pair.settle()
    assert pair.properties[-1].content_type is None


@pytest.mark.followed
@pytest.mark.parametrize(
    "wrong", [BasicProperties(user_id="somebody"), BasicProperties(delivery_mode=3), BasicProperties(expiration="soon")]
)
def test_properties_that_are_refused(pair: Pair, wrong: BasicProperties) -> None:
    """As without a short way."""
    with pytest.raises(exceptions.ChannelClosedByBroker) as closed:
        pair.publish(1, wrong)
        pair.publisher.queue_declare("q", passive=True)
    assert closed.value.reply_code == 406


def test_order_through_every_change_of_way(pair: Pair) -> None:
    """Full lanes, detours through the store and back."""
    for _ in range(20):
        pair.publish(200)
        pair.settle()


def test_the_consumer_leaves_and_comes_back(pair: Pair) -> None:
    tag = pair.consumer.consumer_tags[0]
    pair.consumer.basic_cancel(tag)
    pair.publish(3)
    deadline = time.monotonic() + 20
    count = 0
    while count < 3 and time.monotonic() < deadline:  # RabbitMQ answers before it has counted
        count = pair.publisher.queue_declare("q", passive=True).method.message_count
    assert count == 3
    pair.consumer.basic_consume("q", lambda c, m, p, body: pair.taken.append(body), auto_ack=True)
    pair.publish(3)
    pair.settle()


def test_the_queue_is_deleted(pair: Pair, connect: Connect) -> None:
    """Nobody gets it, and a mandatory one comes back."""
    connect().channel().queue_delete("q")
    pair.publish(2)
    pair.publisher.confirm_delivery()
    with pytest.raises(exceptions.UnroutableError):
        pair.publisher.basic_publish("", "q", b"", mandatory=True)


def test_another_queue_is_bound(pair: Pair, connect: Connect) -> None:
    """To the same exchange and key, by somebody else: the next message goes to both."""
    other = connect().channel()
    other.exchange_declare("e", "direct")
    other.queue_bind("q", "e", "k")
    for _ in range(5):
        pair.publisher.basic_publish("e", "k", b"%d" % pair.sent)
        pair.sent += 1
    other.queue_declare("two")
    other.queue_bind("two", "e", "k")
    for _ in range(5):
        pair.publisher.basic_publish("e", "k", b"%d" % pair.sent)
        pair.sent += 1
    pair.settle()
    assert drain(other, 5, "two") == [b"%d" % number for number in range(pair.sent - 5, pair.sent)]


@pytest.mark.parametrize("end", ["tx_rollback", "tx_commit"])
def test_a_transaction_begins(pair: Pair, end: str) -> None:
    pair.publisher.tx_select()
    pair.publisher.basic_publish("", "q", b"in a transaction")
    getattr(pair.publisher, end)()
    assert pair.publisher.queue_declare("q", passive=True).method is not None
    if end == "tx_commit":
        pair.consumer.connection.process_data_events(0.3)
        assert pair.taken.pop() == b"in a transaction"
    pair.settle()


def test_confirms_begin(pair: Pair) -> None:
    pair.publisher.confirm_delivery()
    pair.publish(3)
    pair.settle()


def test_the_channel_is_closed(pair: Pair) -> None:
    """By the broker, then by us; a new channel of that number has its own ways."""
    with pytest.raises(exceptions.ChannelClosedByBroker):
        pair.publisher.queue_declare("not there", passive=True)
    with pytest.raises(exceptions.ChannelWrongStateError):
        pair.publisher.basic_publish("", "q", b"late")
    pair.publisher = pair.publisher.connection.channel()
    pair.publisher.tx_select()
    pair.publisher.basic_publish("", "q", b"never committed")
    pair.publisher.close()
    with pytest.raises(exceptions.ChannelWrongStateError):
        pair.publisher.basic_publish("", "q", b"late")
    pair.settle()


def test_the_connection_is_closed(pair: Pair) -> None:
    pair.publisher.connection.close()
    with pytest.raises(exceptions.AMQPError):
        pair.publisher.basic_publish("", "q", b"late")
    pair.settle()


#: Arguments of basic_publish that are not what it is meant for.
ODD: list[tuple[Any, Any, Any]] = [("", b"q", b"x"), ([], "q", b"x"), ("", "q", "text"), ("", "q", bytearray(b"x"))]


def outcome(publish: Callable[..., None], case: tuple[Any, Any, Any]) -> str:
    """What becomes of it."""
    try:
        publish(*case)
    except Exception as error:
        return repr(error)
    return "taken"


@pytest.mark.parametrize("case", ODD)
def test_odd_arguments_after_the_short_way(pair: Pair, case: tuple[Any, Any, Any]) -> None:
    """As before it: taken, or refused by the same exception."""
    with_ways = outcome(pair.publisher.basic_publish, case)
    pair.ways.clear()
    assert outcome(pair.publisher.basic_publish, case) == with_ways


def test_large_ones_between_small_ones(pair: Pair) -> None:
    for size in (10, 100_000, 10, 9000, 0, 10):
        pair.publisher.basic_publish("", "q", b"x" * size)
    for _ in range(500):
        pair.consumer.connection.process_data_events(0.01)
        if len(pair.taken) == pair.sent + 6:
            break
    assert [len(body) for body in pair.taken[-6:]] == [10, 100_000, 10, 9000, 0, 10]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_forked_child_is_refused(
    transport: str, make_vhost: Callable[[str], Vhost], state_directory: Any
) -> None:
    """The parent's connection is the parent's, on the short way, too."""
    url = make_vhost(transport).url

    def connect() -> haypile.BlockingConnection:
        return haypile.BlockingConnection(haypile.URLParameters(url))

    pair = Pair(connect, True)
    assert pair.ways
    child = os.fork()
    if not child:
        try:
            pair.publisher.basic_publish("", "q", b"from the child")
        except exceptions.ConnectionWrongStateError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    pair.publish(3)
    pair.settle()
    pair.publisher.connection.close()
    pair.consumer.connection.close()


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_limit_comes_by_a_policy(
    transport: str, make_vhost: Callable[[str], Vhost], state_directory: Any
) -> None:
    """Set by another process while nobody consumes fast enough: the queue is never longer."""
    from haypile.cli.main import main

    url = make_vhost(transport).url
    connection = haypile.BlockingConnection(haypile.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare("q")
    other = haypile.BlockingConnection(haypile.URLParameters(url))
    reader = other.channel()
    reader.basic_qos(prefetch_count=1)
    reader.basic_consume("q", lambda *_: None)
    for number in range(4):
        channel.basic_publish("", "q", b"%d" % number)
    assert channel.ways
    main(["policy", "set", "--url", url, "short", "^q$", '{"max-length": 2}'], standalone_mode=False)
    for number in range(4, 20):
        channel.basic_publish("", "q", b"%d" % number)
    assert channel.queue_declare("q", passive=True).method.message_count <= 2
    connection.close()
    other.close()


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_program_with_channels_of_its_own(transport: str, make_vhost: Callable[[str], Vhost]) -> None:
    """Under a BlockingConnection, too: they are left alone, and take the long way."""

    class Mine(haypile.channel.Channel):  # type: ignore[misc]
        """A program's own channel."""

    class Connection(EagerSelectConnection):
        """Which makes them."""

        def _create_channel(self, number: int, on_open: Any) -> Mine:
            return Mine(self, number, on_open)

    parameters = haypile.URLParameters(make_vhost(transport).url)
    with haypile.BlockingConnection(parameters, _impl_class=Connection) as connection:
        channel = connection.channel()
        assert type(channel._impl) is Mine
        channel.queue_declare("q")
        taken: list[bytes] = []

        def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
            taken.append(body)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("q", take)
        bodies = [b"%d" % number for number in range(30)]
        for body in bodies:
            channel.basic_publish("", "q", body)
        deadline = time.monotonic() + 20
        while len(taken) < len(bodies) and time.monotonic() < deadline:
            connection.process_data_events(0.01)
        assert taken == bodies

"""Many confirms outstanding at a time: what is stored together is in the order in which it was published.

The same on a RabbitMQ, where each message is stored by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pika import spec

from haypile import BasicProperties
from tests.fronts.conftest import Connect
from tests.fronts.test_select import Program
from tests.support.vhosts import Vhost

LASTING = BasicProperties(delivery_mode=2)
MANY = 200


class Publisher(Program):
    """Publishes with confirms, once its queues are there, and closes when all is confirmed."""

    queues: dict[str, dict[str, Any]] = {"q": {}}

    def __init__(self, url: str) -> None:
        self.sent: list[bytes] = []
        self.settled: dict[int, bool] = {}
        self.returned: list[bytes] = []
        self.left = len(self.queues)
        self.answer: Any = None
        super().__init__(url)

    def channel_open(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(self.on_return)
        channel.add_on_close_callback(lambda channel, error: self.closed(error))
        for name, arguments in self.queues.items():
            channel.queue_declare(name, durable=True, arguments=arguments, callback=self.declared)

    def declared(self, frame: Any) -> None:
        self.left -= 1
        if not self.left:
            self.channel.confirm_delivery(self.confirmed, callback=lambda frame: self.publish())

    def publish(self) -> None:
        raise NotImplementedError

    def send(self, key: str, body: bytes, properties: Any = LASTING, exchange: str = "") -> None:
        self.sent.append(body)
        self.channel.basic_publish(exchange, key, body, properties, mandatory=True)

    def confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = range(1, method.delivery_tag + 1) if method.multiple else (method.delivery_tag,)
        for tag in tags:
            if not method.multiple or tag not in self.settled:
                assert tag not in self.settled, "confirmed twice"
                self.settled[tag] = isinstance(method, spec.Basic.Ack)
        self.done()

    def on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        assert self.sent.index(body) + 1 not in self.settled, "returned after its confirm"
        self.returned.append(body)

    def closed(self, error: Exception) -> None:
        if self.connection.is_open:
            self.connection.close()

    def done(self) -> None:
        if len(self.settled) == len(self.sent) and self.answer is not None and self.connection.is_open:
            self.connection.close()


def drain(channel: Any, queue: str) -> list[bytes]:
    """All that is in ``queue``."""
    found: list[bytes] = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        found.append(body)
    return found


def test_all_kinds_of_messages_between_each_other(vhost: Vhost, connect: Connect) -> None:
    class Mixed(Publisher):
        queues = {
            "q": {},
            "other": {},
            "short": {"x-max-length": 3, "x-overflow": "reject-publish"},
            "newest": {"x-max-length": 3},
            "ranked": {"x-max-priority": 3},
        }

        def publish(self) -> None:
            for number in range(MANY):
                body = b"%d" % number
                kind = number % 10
                if kind == 3:
                    self.send("q", body, None)
                elif kind == 4:
                    self.send("", body, exchange="amq.fanout")
                elif kind == 5:
                    self.send("nobody", body)
                elif kind == 6:
                    self.send("newest", body)
                elif kind == 7:
                    self.send("short", body)
                elif kind == 9:
                    self.send("ranked", body, BasicProperties(delivery_mode=2, priority=number // 10 % 3))
                else:
                    self.send("q", body)
            self.channel.queue_declare("q", passive=True, callback=self.counted)

        def counted(self, frame: Any) -> None:
            self.answer = frame.method.message_count
            self.done()

    channel = connect().channel()
    for name in ("q", "other"):
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, "amq.fanout")
    mixed = Mixed(vhost.url)
    mixed.run()
    numbers = range(MANY)
    to_queue = [b"%d" % number for number in numbers if number % 10 not in (5, 6, 7, 9)]
    assert mixed.answer == len(to_queue) or (vhost.transport == "amqp" and mixed.answer < len(to_queue))
    assert drain(channel, "q") == to_queue
    assert drain(channel, "other") == [b"%d" % number for number in numbers if number % 10 == 4]
    assert mixed.returned == [b"%d" % number for number in numbers if number % 10 == 5]
    short = [number for number in numbers if number % 10 == 7]
    assert drain(channel, "short") == [b"%d" % number for number in short[:3]]
    assert [tag for tag, accepted in mixed.settled.items() if not accepted] == [number + 1 for number in short[3:]]
    assert drain(channel, "newest") == [b"%d" % number for number in numbers if number % 10 == 6][-3:]
    ranked = sorted((number for number in numbers if number % 10 == 9), key=lambda number: -(number // 10 % 3))
    assert drain(channel, "ranked") == [b"%d" % number for number in ranked]


def got(publisher: Publisher) -> None:
    publisher.channel.basic_get(
        "q", auto_ack=True, callback=lambda channel, method, properties, body: said(publisher, body)
    )


def said(publisher: Publisher, answer: Any) -> None:
    publisher.answer = answer
    publisher.done()


def count_of(publisher: Publisher) -> Callable[[Any], None]:
    return lambda frame: said(publisher, frame.method.message_count)


def consumed(publisher: Publisher) -> None:
    taken: list[bytes] = []

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        taken.append(body)
        if len(taken) == MANY:
            said(publisher, taken == publisher.sent)

    publisher.channel.basic_consume("q", on_message, auto_ack=True)


OPERATIONS: dict[str, tuple[Callable[[Publisher], None], Any]] = {
    "declare": (lambda one: one.channel.queue_declare("q", passive=True, callback=count_of(one)), MANY),
    "purge": (lambda one: one.channel.queue_purge("q", callback=count_of(one)), MANY),
    "delete": (lambda one: one.channel.queue_delete("q", callback=count_of(one)), MANY),
    "get": (got, b"0"),
    "consume": (consumed, True),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_comes_next_finds_all_that_was_published(vhost: Vhost, operation: str) -> None:
    """A RabbitMQ answers a passive declare before what is on its way between channel and queue has arrived."""
    ask, expected = OPERATIONS[operation]

    class Asking(Publisher):
        def publish(self) -> None:
            for number in range(MANY):
                self.send("q", b"%d" % number)
            ask(self)

    asking = Asking(vhost.url)
    asking.run()
    assert asking.answer == expected or (
        vhost.transport == "amqp" and operation == "declare" and asking.answer < expected
    )
    assert asking.settled == dict.fromkeys(range(1, MANY + 1), True)


@pytest.mark.parametrize("end", ["close", "close channel", "error"])
def test_what_was_published_before_the_end_is_there(vhost: Vhost, connect: Connect, end: str) -> None:
    """The last confirms may be missing, the messages may not."""

    class Leaving(Publisher):
        def publish(self) -> None:
            for number in range(MANY):
                self.send("q", b"%d" % number)
            if end == "close":
                self.connection.close()
            elif end == "close channel":
                self.channel.close()
            else:
                self.channel.basic_publish("missing", "q", b"x", LASTING)

        def closed(self, error: Exception) -> None:
            self.said.append(type(error).__name__)
            super().closed(error)

    leaving = Leaving(vhost.url)
    words = leaving.run()
    if end != "close":
        assert words[1] == ("ChannelClosedByBroker" if end == "error" else "ChannelClosedByClient")
    assert drain(connect().channel(), "q") == leaving.sent[:MANY]


def test_messages_passed_on_are_stored_before_they_are_acknowledged(vhost: Vhost, connect: Connect) -> None:
    """What is taken from one queue, published to another and then acknowledged is in one of them, whoever looks."""
    channel = connect().channel()
    channel.queue_declare("in", durable=True)
    for number in range(MANY):
        channel.basic_publish("", "in", b"%d" % number, LASTING)

    class Passing(Publisher):
        def publish(self) -> None:
            self.channel.basic_consume("in", self.on_message)

        def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.send("q", body)
            channel.basic_ack(method.delivery_tag)
            self.answer = len(self.sent) == MANY or None

    passing = Passing(vhost.url)
    passing.run()
    assert drain(channel, "q") == [b"%d" % number for number in range(MANY)]
    assert channel.queue_declare("in", passive=True).method.message_count == 0

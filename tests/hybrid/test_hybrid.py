"""One channel over two worlds: names that match ``far*`` live on a RabbitMQ, the others here."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pika
import pytest

import haypile
from tests.hybrid.world import count, on

pytestmark = pytest.mark.rabbitmq

def test_names_live_where_the_rules_say(channel: Any, central: str) -> None:
    """The default exchange goes by the queue's name, others by their own."""
    channel.confirm_delivery()
    channel.exchange_declare("out.far", "topic")
    channel.queue_bind("far", "out.far", "a.#")
    for exchange, key in (("", "near"), ("", "far"), ("out.far", "a.b"), ("amq.direct", "x")):
        channel.basic_publish(exchange, key, b"x")
    assert (count("posix:///mixed", "near"), count(central, "far")) == (1, 2)
    for url, absent in ((central, "near"), ("posix:///mixed", "far")):
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            count(url, absent)
        assert caught.value.reply_code == 404


def test_one_sequence_of_delivery_tags(channel: Any, central: str) -> None:
    """Acks of several, a nack and a reject reach the side that delivered."""
    for number in range(6):
        channel.basic_publish("", "near" if number % 2 else "far", b"%d" % number)
    got: list[tuple[int, bytes]] = []
    for queue in ("near", "far"):
        channel.basic_consume(queue, lambda _, method, __, body: got.append((method.delivery_tag, body)))
    until = time.monotonic() + 10
    while len(got) < 6 and time.monotonic() < until:
        channel.connection.process_data_events(0.1)
    assert [tag for tag, _ in got] == [1, 2, 3, 4, 5, 6]
    assert {body for _, body in got} == {b"%d" % number for number in range(6)}
    channel.basic_ack(3, multiple=True)
    channel.basic_nack(5, requeue=False)
    channel.basic_reject(4, requeue=False)
    channel.close()
    assert count("posix:///mixed", "near") + count(central, "far") == 1


def test_get_and_unknown_tags(channel: Any) -> None:
    """basic.get of both, and 406 with the program's own tag."""
    channel.basic_publish("", "near", b"here")
    channel.confirm_delivery()
    channel.basic_publish("", "far", b"there")
    assert [channel.basic_get(queue)[2] for queue in ("near", "far", "near")] == [b"here", b"there", None]
    channel.basic_ack(99)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="unknown delivery tag 99") as caught:
        channel.queue_declare("near", passive=True)
    assert caught.value.reply_code == 406


def test_confirms_are_one_sequence_and_returns_come_back(central: str, state_directory: Path) -> None:
    """Asynchronous: each number is confirmed once."""
    confirmed: list[int] = []
    returned: list[str] = []
    parameters = haypile.URLParameters("hybrid:///mixed")

    def opened(connection: Any) -> None:
        connection.channel(on_open_callback=ready)

    def ready(channel: Any) -> None:
        channel.add_on_return_callback(lambda _, method, __, ___: returned.append(method.routing_key))
        channel.confirm_delivery(lambda frame: confirm(channel, frame.method), lambda _: declare(channel))

    def declare(channel: Any) -> None:
        channel.queue_declare("near", callback=lambda _: None)
        channel.queue_declare("far", callback=lambda _: publish(channel))

    def publish(channel: Any) -> None:
        for number in range(200):
            channel.basic_publish("", ("near", "far", "far.nowhere")[number % 3], b"x", mandatory=True)

    def confirm(channel: Any, method: Any) -> None:
        if method.multiple:
            confirmed.extend(sorted({*range(1, method.delivery_tag + 1)} - {*confirmed}))
        else:
            confirmed.append(method.delivery_tag)
        if len(confirmed) == 200:
            channel.connection.close()

    connection: Any = haypile.SelectConnection(
        parameters, on_open_callback=opened, on_close_callback=lambda closed, _: closed.ioloop.stop()
    )
    connection.ioloop.call_later(20, connection.ioloop.stop)
    connection.ioloop.start()
    assert sorted(confirmed) == list(range(1, 201))
    assert returned == ["far.nowhere"] * 66


def test_channel_errors_of_either_side(channel: Any, connection: Any) -> None:
    """RabbitMQ's own code and text, from both; the connection stays and so does the other channel."""
    other = connection.channel()
    for queue in ("near", "far"):
        one = connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            one.queue_declare(queue, durable=False)
        assert caught.value.reply_code == 406
        assert f"inequivalent arg 'durable' for queue '{queue}'" in caught.value.reply_text
        again = connection.channel(one.channel_number)
        again.basic_qos(prefetch_count=2)
        again.queue_declare(queue, passive=True)
    assert other.queue_declare("far", passive=True).method.queue == "far"


def test_a_transaction_is_refused_across_both(connection: Any) -> None:
    """Clearly, and before anything is sent."""
    channel = connection.channel()
    channel.tx_select()
    channel.queue_declare("near")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="a transaction cannot span") as caught:
        channel.queue_declare("far")
    assert caught.value.reply_code == 406


def test_a_binding_across_is_a_link(channel: Any, connection: Any, central: str) -> None:
    """Each way, routing key and all."""
    channel.exchange_declare("near.events", "topic")
    channel.exchange_declare("far.events", "topic")
    channel.queue_bind("far", "near.events", "up.*")
    channel.queue_bind("near", "far.events", "down.*")
    for exchange, key, queue in (("near.events", "up.1", "far"), ("far.events", "down.1", "near")):
        channel.basic_publish(exchange, key, b"crossing", pika.BasicProperties(headers={"n": 1}))
        until = time.monotonic() + 15
        found: Any = (None, None, None)
        while found[0] is None and time.monotonic() < until:
            connection.sleep(0.05)
            found = channel.basic_get(queue, auto_ack=True)
        method, properties, body = found
        assert (method.routing_key, body, properties.headers["n"]) == (key, b"crossing", 1)


def test_buffered_names_have_an_outbox(channel: Any, connection: Any, central: str) -> None:
    """Order, headers and CC arrive as they were published."""
    with on(central) as there:
        there.channel().queue_declare("later.jobs", durable=True)
        there.channel().queue_declare("later.copy", durable=True)
    channel.confirm_delivery()
    for number in range(100):
        headers = {"n": number, "CC": ["later.copy"]}
        channel.basic_publish("", "later.jobs", b"%d" % number, pika.BasicProperties(headers=headers, delivery_mode=2))
    until = time.monotonic() + 15
    while count(central, "later.copy") < 100 and time.monotonic() < until:
        connection.sleep(0.1)
    with on(central) as there:
        plain = there.channel()
        for number in range(100):
            _, properties, body = plain.basic_get("later.jobs", auto_ack=True)
            assert body == b"%d" % number
            assert properties.headers == {"n": number, "CC": ["later.copy"]}
    assert count(central, "later.copy") == 100

"""Deliveries that a BlockingConnection has and the program's callbacks have not seen yet."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pika import spec

from tests.fronts.conftest import Connect

BODIES = [b"0", b"1", b"2", b"3", b"4"]


@pytest.fixture
def channel(connect: Connect) -> Any:
    """A channel whose queue q has some messages."""
    channel = connect().channel()
    channel.queue_declare("q")
    for body in BODIES:
        channel.basic_publish("", "q", body)
    channel.queue_declare("q", passive=True)
    return channel


def turn(channel: Any, done: Any) -> None:
    """Let events come until ``done()``."""
    deadline = time.monotonic() + 10
    while not done() and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)


def test_a_consumer_that_ends_gets_what_waits(channel: Any) -> None:
    """basic_cancel returns it, as pika does: no message of an auto-acknowledging consumer is lost."""
    got: list[Any] = []
    rest: list[Any] = []

    def callback(_: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append((method, properties, body))
        if body == b"1":
            rest.extend(channel.basic_cancel("tag"))

    channel.basic_consume("q", callback, auto_ack=True, consumer_tag="tag")
    turn(channel, lambda: len(got) == 2)
    channel.connection.process_data_events(0)
    assert len(got) == 2
    left = []
    while (one := channel.basic_get("q", auto_ack=True))[0] is not None:
        left.append(one)
    for method, properties, _ in rest:
        assert type(method) is spec.Basic.Deliver and type(properties) is spec.BasicProperties
    assert [body for _, _, body in got + rest + left] == BODIES


def test_a_callback_that_raises_costs_one_message(channel: Any) -> None:
    """pika comes back to the others when there is something new on the channel."""
    got: list[bytes] = []

    def callback(_: Any, method: Any, properties: Any, body: bytes) -> None:
        if body == b"1":
            raise ZeroDivisionError
        got.append(body)

    channel.basic_consume("q", callback, auto_ack=True)
    with pytest.raises(ZeroDivisionError):
        turn(channel, lambda: False)
    channel.basic_publish("", "q", b"5")
    turn(channel, lambda: len(got) == 5)
    assert got == [b"0", b"2", b"3", b"4", b"5"]


def test_messages_come_before_the_news_that_the_consumer_is_gone(channel: Any, connect: Connect) -> None:
    """The broker cancels it while messages wait: they are dispatched first, each once."""
    other = connect().channel()
    seen: list[Any] = []

    def callback(_: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"0":
            # All of them are on their way, or here.
            turn(other, lambda: not other.queue_declare("q", passive=True).method.message_count)
            other.queue_delete("q")
            # Takes in what comes, dispatches nothing.
            channel.basic_qos(prefetch_count=1)
            channel.connection.sleep(0.05)

    channel.add_on_cancel_callback(lambda frame: seen.append(frame.method.consumer_tag))
    channel.basic_consume("q", callback, auto_ack=True, consumer_tag="tag")
    turn(channel, lambda: "tag" in seen)
    assert seen == [*BODIES, "tag"]


def test_a_consumer_may_begin_and_end_another(channel: Any) -> None:
    """Within a callback, with deliveries of both waiting."""
    channel.queue_declare("r")
    for body in (b"a", b"b", b"c"):
        channel.basic_publish("", "r", body)
    seen: list[bytes] = []
    rest: list[bytes] = []

    def second(_: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"a":
            rest.extend(body for _, _, body in channel.basic_cancel("second"))

    def first(_: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.append(body)
        if body == b"0":
            channel.basic_consume("r", second, auto_ack=True, consumer_tag="second")

    channel.basic_consume("q", first, auto_ack=True)
    turn(channel, lambda: len(seen) >= 6)
    while (one := channel.basic_get("r", auto_ack=True))[0] is not None:
        rest.append(one[2])
    assert [body for body in seen if body in BODIES] == BODIES
    assert [body for body in seen if body not in BODIES] + rest == [b"a", b"b", b"c"]

"""Persistent messages that nobody confirmed, and that went through a lane: what a reboot leaves of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.reboots.test_reboots import LASTING, Machine, machine

__all__ = ["machine"]


def plain(machine: Machine) -> Any:
    """A channel without confirms, on a connection of its own."""
    return machine.connect().connection.channel()


def bodies(channel: Any) -> list[tuple[bytes, bool]]:
    """What is in the queue, and whether it was delivered before."""
    found: list[tuple[bytes, bool]] = []
    while True:
        method, _, body = channel.basic_get("q", auto_ack=True)
        if method is None:
            return found
        found.append((body, method.redelivered))


def in_hands(publisher: Any, consumer: Any) -> None:
    """Two are in a consumer's hands for a while; what else was sent it has not taken yet."""
    got: list[bytes] = []
    consumer.basic_qos(prefetch_count=2)
    consumer.basic_consume("q", lambda _, __, ___, body: got.append(body))
    for body in (b"0", b"1"):
        publisher.basic_publish("", "q", body, LASTING)
    while len(got) < 2:
        consumer.connection.process_data_events(0.1)
    for body in (b"2", b"3"):
        publisher.basic_publish("", "q", body, LASTING)


def in_a_callback(publisher: Any, consumer: Any) -> None:
    """The consumer's callback takes long, its publisher's loop turns meanwhile."""
    in_hands(publisher, consumer)
    publisher.connection.process_data_events(0.1)
    publisher.connection.process_data_events(0.1)


def publisher_leaves(publisher: Any, consumer: Any) -> None:
    """The publisher is done."""
    in_hands(publisher, consumer)
    publisher.connection.close()


def consumer_turns(publisher: Any, consumer: Any) -> None:
    """The publisher is in other work, the consumer's loop turns."""
    in_hands(publisher, consumer)
    consumer.connection.process_data_events(0.1)
    consumer.connection.process_data_events(0.1)


@pytest.mark.parametrize(
    ("work", "back"),
    [
        (in_a_callback, [(b"0", True), (b"1", True), (b"2", False), (b"3", False)]),
        (publisher_leaves, [(b"0", True), (b"1", True), (b"2", False), (b"3", False)]),
        # What is in the lane nobody was promised.
        (consumer_turns, [(b"0", True), (b"1", True)]),
    ],
)
def test_killed_before_a_reboot(
    machine: Machine, work: Callable[[Any, Any], None], back: list[tuple[bytes, bool]]
) -> None:
    machine.run(lambda channel: channel.queue_declare("q", durable=True), kill=False)
    machine.run(lambda _: work(plain(machine), plain(machine)), kill=True)
    machine.reboot()
    channel = machine.connect()
    assert bodies(channel)[: len(back)] == back
    channel.connection.close()


def test_all_said_goodbye(machine: Machine) -> None:
    def work(channel: Any) -> None:
        channel.queue_declare("q", durable=True)
        publisher, consumer = plain(machine), plain(machine)
        in_hands(publisher, consumer)
        consumer.connection.close()
        publisher.connection.close()

    machine.run(work, kill=False)
    machine.reboot()
    channel = machine.connect()
    assert bodies(channel) == [(b"0", True), (b"1", True), (b"2", False), (b"3", False)]
    channel.connection.close()


def test_acknowledged_ones_do_not_come_back(machine: Machine) -> None:
    """Whether the journal had heard of them or not."""

    def work(channel: Any) -> None:
        channel.queue_declare("q", durable=True)
        publisher, consumer = plain(machine), plain(machine)
        got: list[int] = []
        consumer.basic_consume("q", lambda _, method, *__: got.append(method.delivery_tag))
        for number in range(20):
            publisher.basic_publish("", "q", b"%d" % number, LASTING)
            if number == 9:
                consumer.connection.process_data_events(0.1)
                time.sleep(0.05)
                consumer.connection.process_data_events(0)
        while len(got) < 20:
            consumer.connection.process_data_events(0.1)
        consumer.basic_ack(19, multiple=True)
        consumer.connection.process_data_events(0.1)
        consumer.connection.process_data_events(0.1)

    machine.run(work, kill=True)
    machine.reboot()
    channel = machine.connect()
    assert bodies(channel) == [(b"19", True)]
    channel.connection.close()

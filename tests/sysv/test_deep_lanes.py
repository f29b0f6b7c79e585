"""A System V lane may hold hundreds of messages, more than a landing has slots: none is lost or out of order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import haypile as pika
from tests.support.vhosts import Vhost

MANY = 300


@pytest.fixture
def url(make_vhost: Callable[[str], Vhost]) -> str:
    return make_vhost("sysv").url


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Any]]:
    """Makes channels, each on a connection of its own."""
    connections = []

    def make() -> Any:
        connections.append(pika.BlockingConnection(pika.URLParameters(url)))
        return connections[-1].channel()

    yield make
    for connection in connections:
        if connection.is_open:
            connection.close()


def fill(connect: Callable[[], Any], before: int = 0) -> tuple[Any, Any]:
    """A consumer that took one message and has no credit, and a lane full of the others."""
    consumer, publisher = connect(), connect()
    consumer.queue_declare("deep")
    consumer.basic_qos(prefetch_count=1)
    got: list[bytes] = []
    consumer.basic_consume("deep", lambda *args: got.append(args[3]))
    for number in range(MANY):
        publisher.basic_publish("", "deep", b"%d" % number)
        if number == before:
            while not got:
                consumer.connection.process_data_events(0.05)
    return consumer, publisher


def drained(channel: Any) -> list[int]:
    """All that basic_get finds."""
    found = []
    while (reply := channel.basic_get("deep", auto_ack=True))[0] is not None:
        found.append(int(reply[2]))
    return found


def test_purge(connect: Callable[[], Any]) -> None:
    _, publisher = fill(connect)
    assert publisher.queue_purge("deep").method.message_count == MANY - 1
    assert publisher.queue_declare("deep", passive=True).method.message_count == 0


def test_declare_and_delete_count_all(connect: Callable[[], Any]) -> None:
    _, publisher = fill(connect)
    assert publisher.queue_declare("deep", passive=True).method.message_count == MANY - 1
    assert publisher.queue_delete("deep").method.message_count == MANY - 1


def test_get_in_order(connect: Callable[[], Any]) -> None:
    _, publisher = fill(connect)
    assert drained(publisher) == list(range(1, MANY))


def test_the_last_consumer_leaves(connect: Callable[[], Any]) -> None:
    consumer, publisher = fill(connect)
    consumer.connection.close()
    assert drained(publisher) == list(range(MANY))


def test_an_overflow_behind_a_deep_lane(connect: Callable[[], Any]) -> None:
    consumer, publisher = fill(connect)
    for number in range(MANY, MANY + 20):
        publisher.basic_publish("", "deep", b"%d" % number, pika.BasicProperties(expiration="100000"))
    seen: list[int] = []
    consumer.connection.close()
    other = connect()
    other.basic_consume("deep", lambda *args: seen.append(int(args[3])), auto_ack=True)
    deadline = time.monotonic() + 20
    while len(seen) < MANY + 20 and time.monotonic() < deadline:
        other.connection.process_data_events(0.05)
    assert seen == list(range(MANY + 20))


def test_a_killed_consumer_of_a_deep_lane(url: str, connect: Callable[[], Any], tmp_path: Path) -> None:
    publisher = connect()
    publisher.queue_declare("deep")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
            channel.basic_qos(prefetch_count=20)
            channel.basic_consume("deep", lambda *args: os.write(writer, b"x"))
            channel.start_consuming()
        finally:
            os._exit(1)
    while not publisher.queue_declare("deep", passive=True).method.consumer_count:
        time.sleep(0.01)
    for number in range(MANY):
        publisher.basic_publish("", "deep", b"%d" % number)
    for _ in range(20):
        os.read(reader, 1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert drained(connect()) == list(range(MANY))

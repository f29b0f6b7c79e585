"""Counting a queue's messages while they are in its lane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import haypile as pika


class Pair:
    """A consumer that holds one message and takes no more, and the connection that publishes and counts."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        self.taking, self.counting = pika.BlockingConnection(parameters), pika.BlockingConnection(parameters)
        self.channel = self.counting.channel()
        self.channel.queue_declare("q")
        self.taken: list[tuple[Any, int]] = []
        taker = self.taking.channel()
        taker.basic_qos(prefetch_count=1)
        taker.basic_consume("q", lambda channel, method, *_: self.taken.append((channel, method.delivery_tag)))
        self.publish(1)
        while not self.taken:
            self.taking.process_data_events(0.01)
        session = self.counting._impl.wire.session
        self.handle = next(iter(session.handles.values()))

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.channel.basic_publish("", "q", b"x")

    def count(self, passive: bool = True) -> int:
        found: int = self.channel.queue_declare("q", passive=passive).method.message_count
        return found

    def close(self) -> None:
        self.taking.close()
        self.counting.close()


@pytest.fixture(params=["posix", "sysv"])
def pair(request: pytest.FixtureRequest, make_vhost: Any) -> Iterator[Pair]:
    one = Pair(make_vhost(request.param).url)
    yield one
    one.close()


@pytest.mark.parametrize("passive", [True, False])
def test_a_count_leaves_the_gate_open(pair: Pair, passive: bool) -> None:
    assert pair.count(passive) == 0 and not pair.handle.closed
    pair.publish(3)
    assert pair.count(passive) == 3 and not pair.handle.closed
    lane = pair.handle.lane
    assert lane is not None and lane.depth() == 3


def test_what_is_in_the_hay_is_counted_with_what_is_in_the_lane(pair: Pair) -> None:
    pair.publish(2)
    pair.channel.basic_publish("", "q", b"x", pika.BasicProperties(expiration="60000"))
    pair.publish(2)
    assert pair.count() == 5 and pair.handle.closed
    for _ in range(2):
        channel, tag = pair.taken[-1]
        channel.basic_ack(tag)
        seen = len(pair.taken)
        while len(pair.taken) == seen:
            pair.taking.process_data_events(0.01)
    assert pair.count() == 3


def test_a_token_is_no_message(pair: Pair) -> None:
    """One that was left when the gate had just been opened again, and that nobody is about to take."""
    pair.handle.leave_token()
    assert pair.count() == 0
    pair.publish(1)
    assert pair.count() == 1

"""A publisher waits for a closed gate where that pays: messages go through the lane again for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import haypile as pika
from haypile.broker.queue import IN_VAIN, WORTH
from haypile.hay.gates import Gates


class Gated:
    """A publisher whose consumer, in another connection, opens the gate whenever it is waited for."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        self.publishing, self.taking = pika.BlockingConnection(parameters), pika.BlockingConnection(parameters)
        self.channel = self.publishing.channel()
        self.channel.queue_declare("q")
        self.count = self.waits = 0
        self.taking.channel().basic_consume("q", self.on_message, auto_ack=True)
        self.publish()
        self.handle = next(iter(self.publishing._impl.wire.session.handles.values()))

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.count -= 1

    def publish(self, size: int = 1) -> None:
        self.channel.basic_publish("", "q", b"x" * size)
        self.count += 1

    def take(self) -> None:
        while self.count:
            self.taking.process_data_events(0.01)
        self.taking.process_data_events(0)

    def wait(self, word: int, seconds: float) -> bool:
        self.waits += 1
        self.take()
        return not self.handle.closed


@pytest.fixture(params=["posix", "sysv"])
def gated(request: pytest.FixtureRequest, make_vhost: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    one = Gated(make_vhost(request.param).url)
    monkeypatch.setattr(Gates, "wait", lambda _, word, seconds: one.wait(word, seconds))
    one.take()
    yield one
    one.take()
    one.publishing.close()
    one.taking.close()


def through_the_hay(gated: Gated, small: int) -> None:
    """A message that no lane takes, and ``small`` ones that one does."""
    gated.publish(2_000_000)
    assert gated.handle.closed
    for _ in range(small):
        gated.publish()


def test_a_wait_that_pays_is_repeated(gated: Gated) -> None:
    for waits in range(1, 4):
        through_the_hay(gated, WORTH)
        assert gated.waits == waits and not gated.handle.closed
        gated.take()


def test_no_wait_where_the_next_message_closes_the_gate_again(gated: Gated) -> None:
    through_the_hay(gated, 1)
    for _ in range(1 + IN_VAIN):
        assert gated.waits == 1
        # A message that fits no lane asks for none.
        gated.publish(2_000_000)
        gated.publish()
        assert gated.handle.closed
    # Sooner or later it is tried again: what comes may have changed.
    gated.publish()
    assert gated.waits == 2 and not gated.handle.closed

"""A loop that looks for itself before it sleeps need not be rung for, over lanes without a descriptor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import haypile as pika
from haypile.broker.belled import SLEEPERS


class Pair:
    """A consumer and a publisher, and how often the one rang for the other."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        parameters = pika.URLParameters(url)
        self.taking, self.publishing = pika.BlockingConnection(parameters), pika.BlockingConnection(parameters)
        self.channel = self.publishing.channel()
        self.channel.queue_declare("q")
        self.bodies: list[bytes] = []
        taker = self.taking.channel()
        taker.basic_consume("q", lambda channel, method, properties, body: self.bodies.append(body), auto_ack=True)
        self.session: Any = self.taking._impl.wire.session
        publisher: Any = self.publishing._impl.wire.session
        self.rings = 0
        ring = publisher.ring

        def counted(sessions: set[int]) -> None:
            self.rings += 1
            ring(sessions)

        monkeypatch.setattr(publisher, "ring", counted)
        self.publish(b"first")
        while not self.bodies:
            self.taking.process_data_events(0.01)

    @property
    def word(self) -> int:
        source = next(iter(self.session.sources.values()))
        return int(source.handle.words[source.handle.base + SLEEPERS])

    def publish(self, body: bytes) -> None:
        self.channel.basic_publish("", "q", body)

    def take(self) -> list[bytes]:
        """What the consumer was given since the last look, without turning its loop."""
        inbox = self.taking._impl.wire.inbox
        bodies = [one[3] for one in inbox]
        inbox.clear()
        return bodies

    def find_nothing(self) -> None:
        """The consumer takes all there is, and the publisher has rung for all its sleeps."""
        self.publish(b"last")
        self.session.look_around()
        self.take()
        assert len(self.session.dozing) == 1
        self.rings = 0

    def close(self) -> None:
        self.taking.close()
        self.publishing.close()


@pytest.fixture
def pair(make_vhost: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    one = Pair(make_vhost("sysv").url, monkeypatch)
    yield one
    one.close()


def test_nobody_rings_while_it_looks(pair: Pair) -> None:
    pair.find_nothing()
    word = pair.word
    pair.publish(b"a")
    pair.publish(b"b")
    assert pair.rings == 0
    pair.session.peek()
    assert pair.take() == [b"a", b"b"]
    pair.session.peek()
    assert (pair.take(), pair.word) == ([], word)


def test_whoever_publishes_after_it_fell_asleep_rings_once(pair: Pair) -> None:
    pair.find_nothing()
    word = pair.word
    pair.session.doze()
    assert not pair.session.dozing
    assert pair.word != word
    pair.publish(b"a")
    pair.publish(b"b")
    assert pair.rings == 1


def test_what_came_before_it_said_so_is_taken(pair: Pair) -> None:
    pair.find_nothing()
    pair.publish(b"a")
    pair.session.doze()
    assert pair.take() == [b"a"]
    # It looked into the lane again, which is not said yet.
    assert len(pair.session.dozing) == 1
    pair.session.doze()
    pair.publish(b"b")
    assert pair.rings == 1


def test_a_blocked_consumer_does_not_keep_the_loop_awake(pair: Pair) -> None:
    pair.find_nothing()
    source = next(iter(pair.session.sources.values()))
    source.block()
    pair.publish(b"a")
    pair.session.peek()
    assert pair.take() == []
    source.stir()
    pair.session.pump()
    assert pair.take() == [b"a"]


def test_a_deleted_queue_is_forgotten(pair: Pair) -> None:
    pair.find_nothing()
    pair.channel.queue_delete("q")
    pair.session.doze()
    assert not pair.session.dozing


def test_the_loop_says_so_before_it_sleeps(pair: Pair) -> None:
    pair.find_nothing()
    word = pair.word
    pair.taking.process_data_events(0.01)
    assert pair.word != word
    assert not pair.session.dozing

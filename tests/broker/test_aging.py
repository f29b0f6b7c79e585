"""Queues with a message TTL have lanes: what is in one expires in time, and nobody is given what has expired."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import ruling
from haypile.broker.policies import Policy
from haypile.broker.queue import LEAST_TTL, NO_LOOK, QueueHandle
from tests.broker.test_batch import LASTING, Desk, many
from tests.broker.test_batch_plain import place
from tests.broker.test_looks import dead, handle_of, rows, word
from tests.broker.test_short_store import declare

__all__ = ["place"]

TTL = 1000
#: The channel without confirms.
SILENT = 2


class Client(Desk):
    """Publishes to and consumes from the queue ``brief``, whose dead go to ``q``."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.session.handle(SILENT, spec.Channel.Open())

    @property
    def handle(self) -> QueueHandle:
        return handle_of(self)

    @property
    def in_lane(self) -> int:
        lane = self.handle.current_lane()
        return 0 if lane is None else lane.depth()

    @property
    def in_store(self) -> int:
        return self.hay.count_now(self.handle.id)

    def send(self, *bodies: bytes, way: str = "long", properties: BasicProperties | None = None) -> None:
        for body in bodies:
            if way == "short":
                found = self.session.way(SILENT, "", "brief")
                assert found is not None and found(body, properties) is True
            else:
                channel = 1 if way == "confirmed" else SILENT
                self.session.handle(channel, spec.Basic.Publish(routing_key="brief"), properties, body)

    def consume(self, prefetch: int = 64, **options: Any) -> None:
        self.ask(spec.Basic.Qos(prefetch_count=prefetch))
        self.ask(spec.Basic.Consume(queue="brief", consumer_tag="c", **options))
        self.flush()

    def turn(self) -> None:
        """What the loop does when the lane is readable."""
        self.session.look_around()
        self.flush()

    def got(self) -> list[bytes]:
        """What came since it was asked last."""
        bodies = list(self.box.bodies)
        del self.box.bodies[:]
        return bodies


@pytest.fixture
def sender(place: Path) -> Iterator[Client]:
    one = Client(place)
    declare(one, "brief", message_ttl=TTL, dead_letter_exchange="", dead_letter_routing_key="q")
    yield one
    one.session.close()


@pytest.fixture
def receiver(sender: Client, place: Path) -> Iterator[Client]:
    one = Client(place)
    yield one
    one.session.close()


@pytest.fixture(params=["long", "short", "confirmed"])
def way(request: pytest.FixtureRequest) -> str:
    """To publish."""
    return str(request.param)


class Clock:
    """Of the host."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hay, self.monkeypatch = desk.hay, monkeypatch

    def passes(self, milliseconds: int) -> None:
        self.monkeypatch.setattr(self.hay, "offset", self.hay.offset + milliseconds * 1_000_000)


@pytest.fixture
def clock(sender: Client, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(sender, monkeypatch)


def begin(sender: Client, receiver: Client, **options: Any) -> None:
    """``receiver`` consumes, and has been given a first message by way of the store."""
    receiver.consume(**options)
    sender.send(b"first")
    assert sender.in_store == 1
    receiver.turn()
    assert receiver.got() == [b"first"] and not sender.handle.closed


@pytest.mark.parametrize("no_ack", [True, False])
def test_through_the_lane(sender: Client, receiver: Client, way: str, no_ack: bool) -> None:
    begin(sender, receiver, no_ack=no_ack)
    look = word(sender)
    for _ in range(3):
        sender.send(*many(5), way=way)
        assert sender.in_lane == 5 and sender.in_store == 0
        receiver.turn()
        assert receiver.got() == many(5)
    assert word(sender) == look and len(rows(sender)) == 1, "one row for all of them"


def test_left_in_the_lane_it_expires_in_time(sender: Client, receiver: Client, clock: Clock, way: str) -> None:
    """Neither the publisher nor the consumer does anything: somebody else's loop turns."""
    begin(sender, receiver, prefetch=1)
    clock.passes(600)
    sender.send(*many(3), way=way)
    receiver.turn()
    clock.passes(300)
    sender.send(b"later", way=way)
    assert sender.in_lane == 4
    other = Client(sender.session.vhost.target.directory.parent)
    try:
        clock.passes(200)
        other.session.on_timer()
        assert other.handle.lane is None, "its room is not to be held by who only looked"
        assert sender.in_lane == 1, "what wakes the consumer"
        assert other.in_store == 4 and not dead(other), "the look was before their time"
        clock.passes(550)
        other.session.on_timer()
        assert dead(other) == many(3) and other.in_store == 1
        clock.passes(300)
        other.session.on_timer()
        assert dead(other) == [b"later"]
    finally:
        other.session.close()
    receiver.ask(spec.Basic.Ack(1))
    receiver.turn()
    assert not receiver.got()


@pytest.mark.parametrize("no_ack", [True, False])
def test_nobody_is_given_what_has_expired(sender: Client, receiver: Client, clock: Clock, no_ack: bool) -> None:
    """Though nobody looked in time: not a loop turned meanwhile."""
    begin(sender, receiver, no_ack=no_ack)
    sender.send(*many(4))
    clock.passes(500)
    sender.send(b"fresh")
    assert sender.in_lane == 5
    clock.passes(600)
    receiver.turn()
    assert receiver.got() == [b"fresh"]
    assert dead(receiver) == many(4)


def test_after_a_look_the_next_one_goes_by_way_of_the_store(sender: Client, receiver: Client, clock: Clock) -> None:
    begin(sender, receiver, no_ack=True)
    clock.passes(TTL + 100)
    receiver.session.on_timer()
    assert word(sender) == NO_LOOK and len(rows(sender)) == 0
    sender.send(b"0")
    assert sender.in_store == 1 and sender.in_lane <= 1, "a token"
    receiver.turn()
    sender.send(b"1", b"2")
    assert sender.in_store == 0 and sender.in_lane == 2
    receiver.turn()
    assert receiver.got() == many(3) and len(rows(sender)) == 1


def test_nobody_looked_yet(sender: Client, receiver: Client, clock: Clock, way: str) -> None:
    """The look is late: what is published now waits for it in the store, behind what is in the lane."""
    begin(sender, receiver, no_ack=True)
    sender.send(b"old")
    clock.passes(TTL + 100)
    if way == "short":
        assert sender.session.way(SILENT, "", "brief") is not None
    sender.send(b"new", way=way)
    assert sender.in_store >= 1
    receiver.turn()
    assert receiver.got() == [b"new"] and dead(receiver) == [b"old"]


def test_sent_after_the_look(
    sender: Client, receiver: Client, clock: Clock, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher had seen that a look is due, and was slow: it brings its message home."""
    begin(sender, receiver, prefetch=1)
    sender.send(b"before", way=way)
    real = QueueHandle.offer

    def slow(handle: QueueHandle, record: bytes, patience: float) -> bool:
        clock.passes(TTL)
        receiver.session.on_timer()
        handle.open_gate()  # a consumer, once it finds nothing
        return real(handle, record, patience)

    with monkeypatch.context() as slowly:
        slowly.setattr(QueueHandle, "offer", slow)
        sender.send(b"after", way="long" if way == "short" else way)
    assert sender.in_lane <= 1 and sender.in_store == 1 and len(rows(sender)) == 1, "a token at most"
    clock.passes(TTL + 100)
    sender.session.on_timer()
    assert dead(sender) == [b"before", b"after"]


@pytest.mark.parametrize("properties", [None, LASTING], ids=["transient", "persistent"])
@pytest.mark.parametrize("spilled", [False, True])
def test_given_back(
    place: Path, sender: Client, clock: Clock, way: str, properties: BasicProperties | None, spilled: bool
) -> None:
    """What is held never expires; given back it does, when it would have all along."""
    receiver = Client(place)
    begin(sender, receiver)
    receiver.ask(spec.Basic.Ack(1))
    clock.passes(200)
    if way == "confirmed" and properties is not None:
        way = "long"  # with a confirm it is the store's
    sender.send(*many(3), way=way, properties=properties)
    assert sender.in_lane == 3
    receiver.turn()
    assert receiver.got() == many(3)
    if spilled:
        receiver.session.holdings.spill()
    clock.passes(900)
    sender.session.on_timer()
    assert not dead(sender) and sender.in_store == 0, "held"
    receiver.session.close()
    assert sender.in_store == 3
    sender.session.on_timer()
    assert not dead(sender), "not yet"
    clock.passes(200)
    sender.session.on_timer()
    assert dead(sender) == many(3)


def test_the_lane_goes_with_its_consumer(place: Path, sender: Client, clock: Clock) -> None:
    receiver = Client(place)
    begin(sender, receiver, prefetch=1)
    clock.passes(500)
    sender.send(*many(3))
    receiver.session.close()
    assert sender.in_store == 4, "and the one that was held"
    clock.passes(600)
    sender.session.on_timer()
    assert dead(sender) == [b"first"]
    clock.passes(500)
    sender.session.on_timer()
    assert dead(sender) == many(3)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from tests.broker.test_aging import Client
one = Client(Path(sys.argv[1]))
one.consume()
print("consuming", flush=True)
while len(one.box.bodies) < 3:
    one.turn()
    time.sleep(0.002)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_held_by_one_that_was_killed(place: Path, sender: Client, clock: Clock) -> None:
    """It comes back after its time, when no look is due any more."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(place)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"consuming\n"
        sender.send(b"0")
        while sender.in_store or sender.handle.closed:
            time.sleep(0.002)
        sender.send(b"1", b"2")
    clock.passes(TTL + 100)
    sender.session.due.settle_late()
    assert word(sender) == NO_LOOK and not rows(sender)
    other = Client(place)
    other.session.on_timer()
    assert dead(other) == many(3)
    other.session.close()


def test_with_an_expiration_of_its_own(sender: Client, receiver: Client, clock: Clock) -> None:
    """Such a message takes the store's way, and those after it as well until it is gone."""
    begin(sender, receiver, prefetch=1)
    sender.send(b"0")
    sender.send(b"1", properties=BasicProperties(expiration="100"))
    sender.send(b"2")
    clock.passes(200)
    sender.session.on_timer()
    assert not dead(sender), "it is behind one that has not expired"
    receiver.ask(spec.Basic.Ack(1))
    receiver.turn()
    receiver.ask(spec.Basic.Ack(2))
    receiver.turn()
    assert receiver.got() == [b"0", b"2"] and dead(sender) == [b"1"]


def test_a_short_ttl_needs_the_store(place: Path, sender: Client, receiver: Client) -> None:
    declare(sender, "brief2", message_ttl=LEAST_TTL - 1)
    declare(sender, "brief3", message_ttl=LEAST_TTL, max_length=5)
    for name in ("brief2", "brief3"):
        receiver.ask(spec.Basic.Consume(queue=name, consumer_tag=name))
        assert receiver.session.vhost.topology.queues[name].lane is None
    assert not receiver.session.handle_for(receiver.session.vhost.topology.queues["brief3"]).ages


def policy(desk: Client, **definition: Any) -> None:
    ruling.set_policy(desk.session, Policy("p", "plain", definition, 0, "queues"))


def test_a_policy_that_comes_later(sender: Client, receiver: Client, clock: Clock) -> None:
    """What was published before it never expires (rabbit_amqqueue_process: the expiry is set on arrival)."""
    declare(sender, "plain")
    receiver.ask(spec.Basic.Qos(prefetch_count=1), spec.Basic.Consume(queue="plain", consumer_tag="c"))

    def publish(body: bytes) -> None:
        sender.session.handle(SILENT, spec.Basic.Publish(routing_key="plain"), None, body)

    for body in many(3):
        publish(body)
    receiver.turn()
    assert receiver.got() == [b"0"]
    policy(sender, **{"message-ttl": TTL, "dead-letter-exchange": "", "dead-letter-routing-key": "q"})
    publish(b"aging")
    clock.passes(TTL + 100)
    sender.session.on_timer()
    assert not dead(sender)
    for tag in (1, 2, 3):
        receiver.ask(spec.Basic.Ack(tag))
        receiver.turn()
    assert receiver.got() == [b"1", b"2"] and dead(sender) == [b"aging"]
    publish(b"3")
    receiver.turn()
    assert receiver.got() == [b"3"]
    receiver.ask(spec.Basic.Ack(4))
    handle = sender.session.handle_for(sender.session.vhost.topology.queues["plain"])
    assert handle.queue.lane is not None and handle.ages == TTL * 1_000_000
    ruling.clear_policy(sender.session, "p")
    assert not handle.ages and handle.plain and handle.queue.lane is not None

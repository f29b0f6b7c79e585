"""A queue for which the kernel had no room, or little: it gets its lane, or a better one, when there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import haypile as pika
from haypile.broker.asking import LATE, SOON, Asking
from haypile.hay.errors import OutOfRoom
from haypile.lanes import limits
from haypile.lanes.posix import PosixLanes
from haypile.lanes.sysv import SysVLanes


class Pair:
    """A publisher, and a consumer that comes when it is told."""

    def __init__(self, url: str, ack: bool) -> None:
        parameters = pika.URLParameters(url)
        self.publishing, self.taking = pika.BlockingConnection(parameters), pika.BlockingConnection(parameters)
        self.channel, self.taker = self.publishing.channel(), self.taking.channel()
        self.channel.queue_declare("q")
        self.sent: list[bytes] = []
        self.taken: list[bytes] = []
        self.ack = ack
        self.vhost = self.taking._impl.wire.session.vhost

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.taken.append(body)
        if self.ack:
            channel.basic_ack(method.delivery_tag)

    def consume(self) -> str:
        tag: str = self.taker.basic_consume("q", self.on_message, auto_ack=not self.ack)
        return tag

    def publish(self, size: int = 10) -> None:
        self.sent.append(b"%d " % len(self.sent) + b"x" * size)
        self.channel.basic_publish("", "q", self.sent[-1])

    def publish_when_due(self, size: int = 10) -> None:
        """The same, and the kernel may be asked for a lane again."""
        self.vhost.asking.due = 0.0
        self.publish(size)

    def take(self) -> None:
        """Until all of it has come; once more then, for the loop to find nothing."""
        while len(self.taken) < len(self.sent):
            self.taking.process_data_events(0.01)
        self.taking.process_data_events(0)
        assert self.taken == self.sent

    @property
    def row(self) -> Any:
        self.vhost.topology.sync()
        return self.vhost.topology.queues["q"].lane

    @property
    def handle(self) -> Any:
        """The publisher's."""
        return next(iter(self.publishing._impl.wire.session.handles.values()))

    def by_lane(self, size: int = 10) -> bool:
        """Publish: whether it is in the lane then."""
        self.publish(size)
        return not self.handle.closed and self.handle.lane.depth() == 1

    def only_lane(self) -> bool:
        """Whether no other lane is told of, or there."""
        return bool(self.vhost.announced.labels() == self.vhost.lane_labels())

    def close(self) -> None:
        self.publishing.close()
        self.taking.close()


@pytest.fixture(params=[(kind, ack) for kind in ("posix", "sysv") for ack in (False, True)], ids=str)
def pair(request: pytest.FixtureRequest, make_vhost: Any) -> Iterator[Pair]:
    kind, ack = request.param
    one = Pair(make_vhost(kind).url, ack)
    yield one
    one.close()


@pytest.fixture(params=[False, True], ids=["no_ack", "ack"])
def posix_pair(request: pytest.FixtureRequest, make_vhost: Any) -> Iterator[Pair]:
    one = Pair(make_vhost("posix").url, request.param)
    yield one
    one.close()


@pytest.fixture
def none(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The kernel has no room."""
    with monkeypatch.context() as without:
        for lanes in (PosixLanes, SysVLanes):
            without.setattr(lanes, "create", lambda self, prefix, room, announce: announce(f"{prefix}-not-made"))
        yield without


def test_a_lane_is_made_when_there_is_room(pair: Pair, none: pytest.MonkeyPatch) -> None:
    pair.consume()
    assert pair.row is None and pair.only_lane()
    pair.publish()
    pair.take()
    assert pair.row is None
    none.undo()
    pair.publish()
    # It was asked for just now.
    pair.vhost.asking.due = 1e18
    pair.take()
    assert pair.row is None
    pair.publish_when_due()
    pair.take()
    assert pair.row is not None and pair.by_lane() and pair.only_lane()
    pair.take()


def test_the_kernel_is_asked_less_and_less(pair: Pair, none: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    done = Asking.done

    def count(self: Asking, now: float, *, got: bool) -> None:
        done(self, now, got=got)
        asked.append(self.pause)

    none.setattr(Asking, "done", count)
    pair.consume()
    for _ in range(12):
        pair.publish_when_due()
        pair.take()
    assert asked[0] == 2 * SOON and asked == sorted(asked) and asked[-1] == LATE
    assert pair.only_lane()


def test_it_is_said_once(pair: Pair, none: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: Any) -> None:
        raise OutOfRoom("not one")

    for lanes in (PosixLanes, SysVLanes):
        none.setattr(lanes, "create", refuse)
    pair.consume()
    for _ in range(3):
        pair.publish_when_due()
        pair.take()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"vhost {pair.vhost.name!r}"]


def test_who_sleeps_elsewhere_hears_of_the_lane(pair: Pair, none: pytest.MonkeyPatch) -> None:
    """Other consumers watch no lane, or one that is gone; nobody rings for what is sent into the new one."""
    with pika.BlockingConnection(pair.publishing._impl.params) as third:
        channel = third.channel()
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("q", lambda *_: None)
        channel.basic_publish("", "q", b"to hold")
        third.process_data_events(0)
        session = third._impl.wire.session
        pair.consume()
        none.undo()
        pair.publish_when_due()
        rung: list[int] = []
        with pytest.MonkeyPatch.context() as watched:
            watched.setattr("haypile.broker.session.ring", lambda hay, session: rung.append(session))
            pair.take()
        assert pair.row is not None and session.id in rung
        pair.taker.basic_cancel(next(iter(pair.taker._consumer_infos)))


def test_a_small_lane_is_replaced(posix_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that only wakes sleepers; then one whose messages are too short for what comes."""
    pair = posix_pair
    for size, (maxmsg, msgsize) in ((10, (1, 16)), (700, (10, 512))):
        with monkeypatch.context() as little:
            little.setattr(limits, "SIZES", ((maxmsg, msgsize),))
            tag = pair.consume()
            pair.publish(0)
            pair.take()
        before = pair.row
        assert (before.maxmsg, before.msgsize) == (maxmsg, msgsize)
        pair.publish_when_due(size)
        pair.take()
        assert pair.row.maxmsg == 10 and pair.row.msgsize > 700 and pair.row.name != before.name
        assert not pair.vhost.lanes.is_there(before.name) and pair.only_lane()
        assert pair.by_lane(size)
        pair.take()
        pair.taker.basic_cancel(tag)


def test_a_lane_of_few_messages_is_replaced(posix_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = posix_pair
    with monkeypatch.context() as little:
        little.setattr(limits, "SIZES", ((4, 512),))
        pair.consume()
    for _ in range(6):
        pair.publish()
    pair.vhost.asking.due = 0.0
    pair.take()
    assert (pair.row.maxmsg, pair.by_lane()) == (10, True)
    pair.take()


def test_a_lane_that_serves_stays(pair: Pair) -> None:
    pair.consume()
    before = pair.row
    for size in (100, 60_000, 100):
        pair.publish_when_due(size)
        pair.take()
        assert not pair.vhost.asking.vain
    assert pair.row == before and pair.only_lane()


def test_a_lane_that_cannot_be_emptied_stays(posix_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another user's: a better one that was made for it goes again."""
    pair = posix_pair
    with monkeypatch.context() as little:
        little.setattr(limits, "SIZES", ((10, 512),))
        pair.consume()
    before = pair.row
    with monkeypatch.context() as others:
        others.setattr("haypile.broker.lanekeeping.is_ours", lambda lane: False)
        pair.publish_when_due(700)
        pair.take()
        assert pair.row == before and pair.only_lane() and pair.vhost.asking.vain
    pair.publish()
    pair.take()


def test_a_publisher_closes_a_removed_lane_though_the_gate_is_closed(pair: Pair) -> None:
    """What it takes is free only then; at a connection on a loop, too, which never waits for a gate."""
    tag = pair.consume()
    pair.publish()
    pair.take()
    handle = pair.handle
    assert handle.lane is not None
    descriptors = set(os.listdir("/proc/self/fd"))
    pair.taker.basic_cancel(tag)
    assert handle.lane is not None and handle.closed
    pair.publishing._impl.wire.session.publisher.patience = 0.0
    pair.publish()
    assert handle.lane is None
    assert len(set(os.listdir("/proc/self/fd"))) < len(descriptors) or not pair.vhost.lanes.pollable
    pair.consume()
    pair.take()

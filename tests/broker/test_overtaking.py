"""Several consumers of a queue, and a lane that is drained between one's look at the gate and its receive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingConnection

import haypile
from haypile import BasicProperties
from haypile.broker import backlog
from haypile.broker.holdings import Holdings, Moving
from haypile.broker.source import Source
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.gates import CLOSED
from haypile.hay.txn import WriteTxn
from tests.support.vhosts import Vhost

Connect = Callable[[], BlockingConnection]
SMALL, APART = 10, 30_000


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """With each kind of kernel queue."""
    return make_vhost(request.param)


@pytest.fixture
def connect(vhost: Vhost) -> Iterator[Connect]:
    """Makes connections, closed after the test."""
    made: list[BlockingConnection] = []

    def one() -> BlockingConnection:
        made.append(haypile.BlockingConnection(haypile.URLParameters(vhost.url)))
        return made[-1]

    yield one
    for connection in made:
        if connection.is_open:
            connection.close()


class Race:
    """A consumer, somebody else who takes messages, and two publishers."""

    def __init__(self, connect: Connect, patch: pytest.MonkeyPatch, size: int = SMALL, *, auto_ack: bool) -> None:
        self.size, self.patch = size, patch
        self.publishers = [connect().channel() for _ in range(2)]
        self.getter = connect().channel()
        self.getter.queue_declare("q")
        self.consumer = connect()
        self.got: list[tuple[int, bool]] = []
        #: What happens between the consumer's look at the gate and its receive.
        self.meanwhile: Callable[[], None] | None = None
        channel = self.consumer.channel()
        channel.basic_consume("q", self.receive, auto_ack=auto_ack)
        wire: Any = self.consumer._impl.wire
        (self.source,) = wire.session.sources.values()
        for name in ("land", "take_from_lane"):
            patch.setattr(Source, name, self.late(getattr(Source, name)))

    def late(self, step: Callable[..., None]) -> Callable[..., None]:
        """``step``, before which something happens once."""

        def stepping(source: Source, *arguments: Any) -> None:
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                assert source is self.source and not source.handle.closed
                meanwhile()
            step(source, *arguments)

        return stepping

    def publish(self, number: int, publisher: int = 0) -> None:
        """Message ``number``."""
        self.publishers[publisher].basic_publish("", "q", b"%d " % number + bytes(self.size))

    def publish_late(self, number: int, publisher: int) -> None:
        """The same, by a publisher that has seen the gate open before it was closed."""
        words, gate = self.source.handle.words, self.source.handle.base + CLOSED
        assert self.source.handle.closed
        closed, words[gate] = words[gate], 0
        self.publish(number, publisher)
        assert not words[gate]
        words[gate] = closed

    def get(self, *late: tuple[int, int]) -> int:
        """The somebody else takes one, for which he drains the lane; right after that ``late`` (``publish_late``)."""
        drain = Moving.drain

        def draining(moving: Moving, *arguments: Any) -> bool:
            self.patch.setattr(Moving, "drain", drain)
            done = moving.drain(*arguments)
            for number, publisher in late:
                self.publish_late(number, publisher)
            return done

        self.patch.setattr(Moving, "drain", draining)
        _, _, body = self.getter.basic_get("q", auto_ack=True)
        return int(body.split()[0])

    def receive(self, channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """The consumer was given a message."""
        number, rest = body.split(b" ", 1)
        assert len(rest) == self.size
        self.got.append((int(number), method.redelivered))

    def run(self, meanwhile: Callable[[], None], count: int) -> list[tuple[int, bool]]:
        """The consumer takes what there is, until it has ``count``: numbers, and whether they come again."""
        self.meanwhile = meanwhile
        self.publish(1)
        for _ in range(50):
            self.consumer.process_data_events(0.02)
            if len(self.got) >= count:
                break
        assert self.meanwhile is None
        return self.got


@pytest.mark.parametrize("auto_ack", [False, True], ids=["acks", "auto-ack"])
@pytest.mark.parametrize("size", [SMALL, APART], ids=["small", "apart"])
def test_what_overtook_waits_for_what_was_before_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, size: int, *, auto_ack: bool
) -> None:
    """RabbitMQ gives one consumer what one publisher sent in its order (docs/queues#message-ordering)."""
    race = Race(connect, monkeypatch, size, auto_ack=auto_ack)

    def meanwhile() -> None:
        race.publish(2)
        race.publish(3)
        assert race.get((4, 0), (5, 0)) == 1
        race.publish(6)

    assert race.run(meanwhile, 5) == [(number, False) for number in (2, 3, 4, 5, 6)]
    assert race.getter.queue_declare("q", passive=True).method.message_count == 0


@pytest.mark.parametrize("auto_ack", [False, True], ids=["acks", "auto-ack"])
def test_what_nothing_was_before_is_given_out(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, *, auto_ack: bool
) -> None:
    """It is another publisher's: were it put back, what that one sends next could overtake it."""
    race = Race(connect, monkeypatch, auto_ack=auto_ack)

    def meanwhile() -> None:
        race.publish(2)
        assert race.get((100, 1), (3, 0)) == 1

    assert race.run(meanwhile, 3) == [(100, False), (2, False), (3, False)]


@pytest.mark.parametrize("auto_ack", [False, True], ids=["acks", "auto-ack"])
@pytest.mark.parametrize("size", [SMALL, APART], ids=["small", "apart"])
def test_where_the_store_is_busy_it_is_marked(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, size: int, *, auto_ack: bool
) -> None:
    """No message is lost, and what comes in another order says that it may have been there before."""
    race = Race(connect, monkeypatch, size, auto_ack=auto_ack)
    write = Holdings.write

    def busy(*_: object, **__: object) -> Any:
        monkeypatch.setattr(Holdings, "write", write)
        raise Busy("by somebody else")

    def meanwhile() -> None:
        race.publish(2)
        assert race.get((3, 0), (4, 0)) == 1
        monkeypatch.setattr(Holdings, "write", busy)

    again = [(3, True), (4, True)]
    assert race.run(meanwhile, 3) in ([*again, (2, False)], [(3, True), (2, False), (4, False)])
    assert race.getter.queue_declare("q", passive=True).method.message_count == 0


@pytest.mark.parametrize("auto_ack", [False, True], ids=["acks", "auto-ack"])
def test_behind_very_many(connect: Connect, monkeypatch: pytest.MonkeyPatch, *, auto_ack: bool) -> None:
    """More than are looked at: it waits for its turn all the same."""
    monkeypatch.setattr(backlog, "LOOK_BACK", 2)
    race = Race(connect, monkeypatch, auto_ack=auto_ack)

    def meanwhile() -> None:
        for number in (2, 3, 4):
            race.publish(number, publisher=1)
        race.publish(5)
        assert race.get((6, 0)) == 1

    assert race.run(meanwhile, 5) == [(number, False) for number in (2, 3, 4, 5, 6)]


class Stranded:
    """A consumer whose transaction fails when it has two messages of the lane in its slots."""

    def __init__(self, connect: Connect, patch: pytest.MonkeyPatch, times: float) -> None:
        self.publisher = connect().channel()
        self.publisher.queue_declare("q")
        self.consumer = connect()
        self.got: list[tuple[bytes, bool]] = []
        self.times = times
        hold = WriteTxn.hold

        def failing(*arguments: Any) -> Any:
            self.times -= 1
            if self.times >= 0:
                raise OutOfRoom("full")
            return hold(*arguments)

        patch.setattr(WriteTxn, "hold", failing)
        self.channel = self.consumer.channel()
        self.channel.basic_consume("q", self.receive)
        for body in (b"1", b"2"):
            self.publisher.basic_publish("", "q", body)
        self.store(b"3")

    def store(self, body: bytes) -> None:
        """A message that takes the way by the store, since it may expire."""
        self.publisher.basic_publish("", "q", body, BasicProperties(expiration="60000"))

    def receive(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """It was given a message."""
        self.got.append((body, method.redelivered))

    def wait_a_little(self) -> list[tuple[bytes, bool]]:
        """For its first try, which fails."""
        self.consumer.process_data_events(0.05)
        self.times = 0
        return self.got

    def wait(self, count: int) -> list[tuple[bytes, bool]]:
        """Until it was given so many."""
        deadline = time.monotonic() + 5
        while len(self.got) < count and time.monotonic() < deadline:
            self.consumer.process_data_events(0.02)
        return self.got


def test_a_transaction_that_fails_is_tried_again_at_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody came in between: nothing can have been overtaken."""
    one = Stranded(connect, monkeypatch, times=1)
    assert one.wait(3) == [(b"1", False), (b"2", False), (b"3", False)]


def test_what_others_may_have_overtaken_meanwhile_is_marked(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stranded(connect, monkeypatch, times=float("inf"))
    assert one.wait_a_little() == []
    one.store(b"4")
    assert one.wait(4) == [(b"1", True), (b"2", True), (b"3", False), (b"4", False)]


def test_and_so_it_is_where_its_consumer_leaves(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Stranded(connect, monkeypatch, times=float("inf"))
    assert one.wait_a_little() == []
    one.store(b"4")
    one.consumer.close()
    one.consumer = connect()
    one.consumer.channel().basic_consume("q", one.receive)
    assert one.wait(4) == [(b"1", True), (b"2", True), (b"3", False), (b"4", False)]

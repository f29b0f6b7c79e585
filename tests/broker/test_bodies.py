"""Bodies that no lane takes go through it all the same: whole, in order, and their slots come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

import haypile
from haypile.broker import bodies, message
from haypile.broker.bodies import SIZES, Bodies
from haypile.broker.message import APART, FLAGS_AT, HEADER, REFERENCE
from haypile.broker.session import Session
from haypile.lanes.errors import NoRoom
from haypile.lanes.slab import Slab
from tests.conftest import LOCAL_TRANSPORTS
from tests.support.vhosts import Vhost

SIZE = 50_000


def body(number: int, size: int = SIZE) -> bytes:
    """Of its own."""
    return b"%7d" % number + os.urandom(16) * (size // 16)


class Pair:
    """A publisher and a consumer, in connections of their own."""

    def __init__(self, vhost: Vhost, directory: Path, **arguments: Any) -> None:
        self.vhost, self.directory = vhost, directory
        self.publishing, self.taking = self.connect(), self.connect()
        self.publisher, self.consumer = self.publishing.channel(), self.taking.channel()
        self.publisher.queue_declare("q", **arguments)
        self.got: list[tuple[Any, BasicProperties, bytes]] = []
        self.tag = ""

    def connect(self) -> BlockingConnection:
        return haypile.BlockingConnection(haypile.URLParameters(self.vhost.url))

    def session(self, connection: BlockingConnection) -> Session:
        session: Session = connection._impl.wire.session
        return session

    def consume(self, *, auto_ack: bool = False, prefetch: int = 0) -> None:
        def on_message(_: BlockingChannel, method: Any, properties: BasicProperties, body: bytes) -> None:
            self.got.append((method, properties, body))

        self.consumer.basic_qos(prefetch_count=prefetch)
        self.tag = self.consumer.basic_consume("q", on_message, auto_ack=auto_ack)
        self.turn()

    def turn(self, channel: BlockingChannel | None = None) -> None:
        (channel or self.consumer).connection.process_data_events(0)

    def publish(self, *sent: bytes, properties: BasicProperties | None = None) -> None:
        for one in sent:
            self.publisher.basic_publish("", "q", one, properties)

    def take(self, count: int) -> list[bytes]:
        """The next ``count`` bodies."""
        deadline = time.monotonic() + 10
        while len(self.got) < count and time.monotonic() < deadline:
            self.taking.process_data_events(0.1)
        assert len(self.got) == count
        return [one for _, _, one in self.got]

    def slabs(self) -> list[Path]:
        return sorted(self.directory.glob("*/*/sessions/*.bodies.*"))

    def in_use(self) -> int:
        """Slots of all slabs."""
        count = 0
        for path in self.slabs():
            slab = Slab.open(path)
            assert slab is not None
            count += len(slab.taken())
            slab.close()
        return count

    def stored(self) -> int:
        """Messages of the queue in the store."""
        session = self.session(self.publishing)
        return session.vhost.hay.count_now(session.vhost.topology.queues["q"].id)

    def depth(self) -> int:
        """As queue.declare tells it."""
        count: int = self.consumer.queue_declare("q", passive=True).method.message_count
        return count

    def close(self) -> None:
        for connection in (self.publishing, self.taking):
            if connection.is_open:
                connection.close()


@pytest.fixture(params=LOCAL_TRANSPORTS)
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """A fresh one on each transport of this machine."""
    return make_vhost(request.param)


@pytest.fixture
def make_pair(vhost: Vhost, state_directory: Path) -> Iterator[Callable[..., Pair]]:
    """Makes a pair on it."""
    made: list[Pair] = []

    def make(**arguments: Any) -> Pair:
        made.append(Pair(vhost, state_directory, **arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert one.slabs() == []


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    return make_pair()


# -- the way through -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("auto_ack", [True, False])
def test_bodies_of_every_size_arrive_as_they_were(pair: Pair, *, auto_ack: bool) -> None:
    pair.consume(auto_ack=auto_ack)
    edges = [size + more for size, _ in SIZES for more in (-1, 0, 1)]
    properties = BasicProperties(headers={"a": 1}, content_type="text/plain", reply_to="x" * 200)
    for count, size in enumerate((8_000, 8_100, 8_192, 8_193, 9_000, *edges, 5_000_000), 1):
        sent = os.urandom(size)
        pair.publish(sent, properties=properties)
        assert pair.take(count)[-1] == sent
        method, got, _ = pair.got[-1]
        assert (method.routing_key, method.exchange, method.redelivered) == ("q", "", False)
        assert got == properties
        if not auto_ack:
            pair.consumer.basic_ack(method.delivery_tag)
        assert pair.in_use() == 0
    used = pair.session(pair.publishing).bodies.own
    assert list(used) == [size for size, _ in SIZES]


def test_they_do_not_go_by_way_of_the_store(pair: Pair) -> None:
    pair.consume(auto_ack=True)
    sent = [body(number) for number in range(8)]
    pair.publish(*sent)
    assert pair.stored() == 0 and pair.in_use() == 8
    assert pair.take(8) == sent
    assert pair.stored() == 0 and pair.in_use() == 0


def test_large_and_small_ones_keep_their_order(pair: Pair) -> None:
    """Also where the lane has no room, or a body is too large for any slot, and the rest goes to the store."""
    pair.consume(auto_ack=True)
    sent = [body(number, size) for number, size in enumerate((10, SIZE, 10, 300_000, 2_000_000, 10, SIZE) * 30)]
    pair.publish(*sent)
    assert pair.stored() > 0
    assert pair.take(len(sent)) == sent
    assert pair.in_use() == 0


def test_without_a_consumer_they_wait_in_the_store(pair: Pair) -> None:
    pair.publish(body(0))
    assert pair.stored() == 1 and pair.slabs() == []


def test_what_is_in_hand_is_published_again_and_consumed_by_its_publisher(pair: Pair) -> None:
    """One connection: its own slab."""
    got: list[bytes] = []
    pair.publisher.basic_consume("q", lambda *args: got.append(args[3]), auto_ack=True)
    pair.turn(pair.publisher)
    sent = [body(number) for number in range(5)]
    pair.publish(*sent)
    while len(got) < 5:
        pair.publishing.process_data_events(0.1)
    assert got == sent and pair.in_use() == 0


def test_a_fanout_gives_each_queue_its_own(pair: Pair) -> None:
    channel = pair.consumer
    got: dict[str, list[bytes]] = {"a": [], "b": []}
    channel.exchange_declare("all", "fanout")
    for name, bodies_of in got.items():
        channel.queue_declare(name)
        channel.queue_bind(name, "all")
        channel.basic_consume(name, lambda *args, to=bodies_of: to.append(args[3]), auto_ack=True)
    pair.turn()
    sent = body(1)
    pair.publisher.basic_publish("all", "", sent)
    assert pair.in_use() == 2
    while not all(got.values()):
        pair.taking.process_data_events(0.1)
    assert got == {"a": [sent], "b": [sent]} and pair.in_use() == 0


# -- settling ------------------------------------------------------------------------------------------------


def test_the_slot_is_in_use_until_the_ack(pair: Pair) -> None:
    pair.consume()
    pair.publish(*(body(number) for number in range(6)))
    pair.take(6)
    assert pair.in_use() == 6
    pair.consumer.basic_ack(1)
    assert pair.in_use() == 5
    pair.consumer.basic_ack(4, multiple=True)
    assert pair.in_use() == 2
    pair.consumer.basic_reject(5, requeue=False)
    assert pair.in_use() == 1
    pair.consumer.basic_ack(6)
    assert pair.in_use() == 0
    assert pair.session(pair.taking).holdings.apart == {}


def test_what_is_returned_is_whole_and_where_it_was(pair: Pair) -> None:
    pair.consume()
    sent = [body(number) for number in range(4)]
    pair.publish(*sent)
    pair.take(4)
    pair.consumer.basic_nack(0, multiple=True, requeue=True)
    assert pair.in_use() == 0
    assert pair.take(8)[4:] == sent
    assert all(method.redelivered for method, _, _ in pair.got[4:])


@pytest.mark.parametrize("how", ["channel", "cancel", "connection"])
def test_what_nobody_acknowledged_is_there_for_the_next(pair: Pair, how: str) -> None:
    pair.consume()
    sent = [body(number) for number in range(4)]
    pair.publish(*sent)
    pair.take(4)
    if how == "cancel":
        pair.consumer.basic_cancel(pair.tag)
        pair.consumer.basic_recover(requeue=True)
    elif how == "channel":
        pair.consumer.close()
    else:
        pair.taking.close()
    assert pair.in_use() == 0
    assert [pair.publisher.basic_get("q", auto_ack=True)[2] for _ in range(4)] == sent


def test_those_not_delivered_go_home_with_the_consumer(pair: Pair) -> None:
    pair.consume(prefetch=1)
    sent = [body(number) for number in range(4)]
    pair.publish(*sent)
    pair.take(1)
    assert pair.in_use() == 4
    pair.consumer.basic_cancel(pair.tag)
    assert pair.in_use() == 1 and pair.stored() == 3
    pair.consumer.basic_ack(1)
    assert [pair.consumer.basic_get("q", auto_ack=True)[2] for _ in range(3)] == sent[1:]


def test_dead_letters_are_whole(make_pair: Callable[..., Pair]) -> None:
    pair = make_pair(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    pair.consumer.queue_declare("dead")
    pair.consume()
    sent = body(1)
    pair.publish(sent)
    pair.take(1)
    pair.consumer.basic_reject(1, requeue=False)
    assert pair.in_use() == 0
    assert pair.consumer.basic_get("dead", auto_ack=True)[2] == sent


def test_a_message_ttl_holds_for_them(make_pair: Callable[..., Pair]) -> None:
    arguments = {"x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    pair = make_pair(arguments=arguments)
    pair.consumer.queue_declare("dead")
    pair.consume(prefetch=2)
    sent = [body(number) for number in range(4)]
    pair.publish(sent[0])  # of which the session notes when to look at the queue
    pair.take(1)
    pair.turn()
    pair.publish(*sent[1:])
    assert pair.stored() == 0 and pair.in_use() == 3
    pair.take(2)
    dead: list[bytes] = []
    deadline = time.monotonic() + 10
    while len(dead) < 2 and time.monotonic() < deadline:
        pair.taking.process_data_events(0.05)
        found = pair.consumer.basic_get("dead", auto_ack=True)[2]
        dead += [found] if found is not None else []
    assert dead == sent[2:]
    assert pair.in_use() == 1
    pair.consumer.basic_ack(0, multiple=True)
    assert pair.in_use() == 0


def test_what_is_kept_for_long_moves_to_the_store(pair: Pair) -> None:
    """The landing's slots are few."""
    pair.consume()
    sent = [body(number) for number in range(3)]
    pair.publish(*sent)
    pair.take(3)
    pair.session(pair.taking).holdings.spill()
    assert pair.in_use() == 0
    pair.consumer.basic_ack(1)
    pair.consumer.basic_nack(0, multiple=True, requeue=True)
    assert pair.take(5)[3:] == sent[1:]


@pytest.mark.parametrize("auto_ack", [True, False])
def test_persistent_ones(make_pair: Callable[..., Pair], *, auto_ack: bool) -> None:
    pair = make_pair(durable=True)
    pair.consume(auto_ack=auto_ack)
    lasting = BasicProperties(delivery_mode=2)
    sent = [body(number) for number in range(3)]
    pair.publish(*sent, properties=lasting)
    assert pair.take(3) == sent and pair.in_use() == 0
    if not auto_ack:
        pair.consumer.basic_nack(0, multiple=True, requeue=True)
        assert pair.take(6)[3:] == sent


def test_a_purge_and_a_count(pair: Pair) -> None:
    pair.consume(prefetch=1)
    pair.publish(*(body(number) for number in range(5)))
    pair.take(1)
    assert pair.depth() == 4
    assert pair.consumer.queue_purge("q").method.message_count == 4
    assert pair.in_use() == 1
    pair.consumer.basic_ack(1)
    assert pair.in_use() == 0


def test_slots_of_a_deleted_queue_are_used_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SIZES", ((1 << 16, 4),))
    pair.consume(prefetch=1)
    pair.publish(*(body(number) for number in range(4)))
    pair.take(1)
    pair.consumer.queue_delete("q")
    pair.consumer.basic_nack(1, requeue=True)
    pair.publisher.queue_declare("q")
    pair.got.clear()
    pair.consume(auto_ack=True)
    sent = [body(number) for number in range(4)]
    pair.publish(*sent)
    assert pair.stored() == 0
    assert pair.take(4) == sent


def test_the_firehose_has_them_whole(pair: Pair) -> None:
    for auto_ack in (True, False):
        tracer = pair.connect()
        channel = tracer.channel()
        channel.queue_declare("traced")
        channel.queue_bind("traced", "amq.rabbitmq.trace", "deliver.#")
        pair.got.clear()
        pair.consume(auto_ack=auto_ack)
        sent = [body(number) for number in range(3)]
        pair.publish(*sent)
        assert pair.take(3) == sent
        assert [channel.basic_get("traced", auto_ack=True)[2] for _ in range(3)] == sent
        pair.consumer.basic_cancel(pair.tag)
        channel.queue_delete("traced")
        tracer.close()
    pair.consumer.basic_ack(0, multiple=True)
    assert pair.in_use() == 0


# -- no room -------------------------------------------------------------------------------------------------


def test_without_a_free_slot_they_go_to_the_store(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SIZES", ((1 << 16, 4),))
    pair.consume(prefetch=2)
    sent = [body(number) for number in range(7)]
    pair.publish(*sent)
    assert pair.in_use() == 4 and pair.stored() == 3
    for number in range(1, 8):
        pair.take(min(number + 1, 7))
        pair.consumer.basic_ack(number)
    assert [one for _, _, one in pair.got] == sent and pair.in_use() == 0


@pytest.mark.parametrize("left", [0, 1 << 20, 1 << 23])
def test_little_memory_makes_fewer_slots_or_none(pair: Pair, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    monkeypatch.setattr(bodies, "room", SimpleNamespace(spare=lambda _: left))
    pair.consume(prefetch=1)
    pair.publish(*(body(number) for number in range(5)))
    slots = min(left // 8 // 65_536, 64)
    own = pair.session(pair.publishing).bodies.own
    assert [slab.slots for slab in own.values()] == ([slots] if slots >= bodies.SLOTS_LEAST else [])
    pair.take(1)
    assert pair.depth() == 4
    pair.consumer.basic_ack(0, multiple=True)


def test_no_slab_is_asked_for_again_and_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def create(*_: object) -> Slab:
        nonlocal asked
        asked += 1
        raise NoRoom("none")

    monkeypatch.setattr(Slab, "create", create)
    pair.consume(auto_ack=True)
    sent = [body(number, 10_000) for number in range(50)]
    for one in sent:
        pair.publish(one)
        pair.turn()
    assert pair.take(50) == sent and asked == 1


def test_the_last_descriptors_are_kept_for_them(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.consume(auto_ack=True)
    sent = body(1)
    pair.publish(sent)
    real, spare = Slab.open, pair.session(pair.taking).bodies.spare
    assert len(spare._fds) == 2

    def scarce(path: Path) -> Slab | None:
        if spare._fds:
            raise NoRoom("none")
        return real(path)

    monkeypatch.setattr(Slab, "open", scarce)
    assert pair.take(1) == [sent]


def test_only_so_many_slabs_of_others_are_kept_open(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "OPEN", 2)
    pair.consume(auto_ack=True)
    sizes = [10_000, 50_000, 200_000, 900_000] * 2
    sent = [body(number, size) for number, size in enumerate(sizes)]
    pair.publish(*sent)
    assert pair.take(len(sent)) == sent
    assert len(pair.session(pair.taking).bodies.others) == 2


# -- ends ----------------------------------------------------------------------------------------------------


def test_bodies_outlive_their_publisher(pair: Pair) -> None:
    pair.consume(prefetch=1)
    sent = [body(number) for number in range(4)]
    pair.publish(*sent)
    pair.publishing.close()
    assert len(pair.slabs()) == 1
    doctor = [sys.executable, "-m", "haypile", "doctor"]
    done = subprocess.run(doctor, env=pair.vhost.process_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout  # nothing is left over
    for number in range(1, 5):
        assert pair.take(number)[-1] == sent[number - 1]
        assert len(pair.slabs()) == 1
        pair.consumer.basic_ack(number)
    assert pair.slabs() == []


def in_child(work: Callable[[], None]) -> int:
    """Do ``work`` in a process that is then killed, if it is not before; its status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def test_bodies_outlive_a_killed_publisher(pair: Pair) -> None:
    sent = [body(number) for number in range(4)]
    pair.consume(prefetch=1)

    def publish() -> None:
        channel = pair.connect().channel()
        for one in sent:
            channel.basic_publish("", "q", one)

    assert in_child(publish) == signal.SIGKILL
    assert len(pair.slabs()) == 1
    pair.connect().close()  # who comes next sees that it is dead
    for number in range(1, 5):
        assert pair.take(number)[-1] == sent[number - 1]
        assert len(pair.slabs()) == 1
        pair.consumer.basic_ack(number)
    assert pair.slabs() == []


def test_a_publisher_killed_before_it_sends_leaves_what_the_last_session_removes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.consume(auto_ack=True)

    def publish() -> None:
        channel = pair.connect().channel()
        real = Slab.put

        def put(slab: Slab, one: bytes | memoryview) -> tuple[int, int] | None:
            real(slab, one)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        monkeypatch.setattr(Slab, "put", put)
        channel.basic_publish("", "q", body(1))

    assert in_child(publish) == signal.SIGKILL
    idle = pair.connect()
    assert pair.in_use() == 1
    pair.close()
    assert pair.in_use() == 1
    idle.close()
    assert pair.slabs() == []


@pytest.mark.parametrize("at", ["look", "take", "claim"])
def test_a_killed_consumer_gives_the_slots_back(pair: Pair, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """What it held for acknowledgement is delivered again; what it had taken without is gone, but not the slots."""
    sent = [body(number) for number in range(6)]
    ready, tell = os.pipe()

    def consume() -> None:
        channel = pair.connect().channel()
        real, calls = getattr(Bodies, at), 0

        def then_die(one: Bodies, what: Any) -> Any:
            nonlocal calls
            done = real(one, what)
            calls += 1
            if at == "claim" or calls == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        monkeypatch.setattr(Bodies, at, then_die)
        channel.basic_consume("q", lambda *_: None, auto_ack=at != "look")
        channel.connection.process_data_events(0)
        os.write(tell, b".")
        if at != "look":
            time.sleep(0.3)  # all of them come at once
        channel.start_consuming()

    pid = os.fork()
    if pid == 0:
        try:
            consume()
        finally:
            os._exit(1)
    os.read(ready, 1)
    pair.publish(body(0), *sent)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.close(ready)
    os.close(tell)
    pair.connect().close()
    left = pair.depth()
    assert pair.in_use() == 0
    found = [pair.consumer.basic_get("q", auto_ack=True) for _ in range(left)]
    if at == "look":
        assert [one for _, _, one in found][1:] == sent and found[0][0].redelivered
    assert pair.publisher.basic_get("q")[0] is None


def test_an_ack_counts_once_its_body_is_gone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two: the slot of the landing is still there, and refers to nothing."""

    def consume() -> None:
        channel = pair.connect().channel()

        def on_message(_: BlockingChannel, method: Any, __: BasicProperties, ___: bytes) -> None:
            real = Bodies.give_back

            def give_back(one: Bodies, record: bytes) -> None:
                real(one, record)
                os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(Bodies, "give_back", give_back)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("q", on_message)
        channel.connection.process_data_events(0)

        publisher = pair.connect().channel()
        for number in range(2):
            publisher.basic_publish("", "q", body(number))
        channel.start_consuming()

    assert in_child(consume) == signal.SIGKILL
    pair.connect().close()
    left = [pair.consumer.basic_get("q", auto_ack=True)[2] for _ in range(pair.depth())]
    assert [one[:7] for one in left] == [b"%7d" % number for number in (1,)]
    assert pair.in_use() == 0


# -- what is not ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("auto_ack", [True, False])
@pytest.mark.parametrize("how", ["no slab", "no slot", "old number", "cut short"])
def test_a_reference_to_nothing_is_put_aside(
    pair: Pair, caplog: pytest.LogCaptureFixture, how: str, *, auto_ack: bool
) -> None:
    pair.consume(auto_ack=auto_ack)
    pair.publish(body(1))
    pair.take(1)
    session = pair.session(pair.publishing)
    handle = session.handle_for(session.vhost.topology.queues["q"])
    reference = {
        "no slab": (session.id + 1000, 1 << 16, 0, 1),
        "no slot": (session.id, 1 << 16, 1000, 1),
        "old number": (session.id, 1 << 16, 0, 1000),
        "cut short": (session.id, 1 << 16, 0, 1),
    }[how]
    record = message.encode_message(
        message.Message("", "q", BasicProperties(), b"", session.vhost.hay.now(), session.id, 0, 0), session.nonce
    )
    fields = list(HEADER.unpack_from(record))
    fields[3], fields[7] = SIZE, APART
    forged = HEADER.pack(*fields) + record[HEADER.size :] + REFERENCE.pack(*reference)
    assert forged[FLAGS_AT] == APART
    lane = handle.current_lane()
    assert lane is not None
    lane.send(forged[:-1] if how == "cut short" else forged)
    sent = body(2)
    pair.publish(sent)
    assert pair.take(2)[1] == sent
    assert "aside" in caplog.text
    if not auto_ack:
        pair.consumer.basic_ack(0, multiple=True)
    assert pair.in_use() == 0

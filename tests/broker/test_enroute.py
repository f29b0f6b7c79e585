"""Persistent messages without a confirm go through lanes: the journal has them before who acknowledges does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import enroute, journaling
from haypile.broker.queue import QueueHandle
from haypile.hay import haste
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.gates import FLUSHED, PENDING
from haypile.hay.layout import JOURNALED, NOTED, Entry
from haypile.hay.pending import MESSAGE_ROW
from haypile.hay.txn import WriteTxn
from tests.broker.test_batch import LASTING, Desk, many
from tests.broker.test_batch_plain import PLAIN, place

__all__ = ["place"]


class Sender(Desk):
    """With a channel that knows no confirms."""

    def __init__(self, place: Path, *, loop: bool) -> None:
        super().__init__(place, loop=loop)
        self.seconds = 0.0
        self.session.journaling.clock = lambda: self.seconds

    @property
    def handle(self) -> QueueHandle:
        return self.session.handle_for(self.session.vhost.topology.queues["q"])

    @property
    def in_lane(self) -> int:
        lane = self.handle.current_lane()
        return 0 if lane is None else lane.depth()

    def send(self, *bodies: bytes, properties: BasicProperties = LASTING, short: bool = False) -> None:
        for body in bodies:
            if short:
                way = self.session.way(PLAIN, "", "q")
                assert way is not None and way(body, properties) is True
            else:
                self.session.handle(PLAIN, spec.Basic.Publish(routing_key="q"), properties, body)

    def look(self) -> None:
        """The time of a look has come."""
        self.seconds += 1.0
        self.session.on_timer()
        self.flush()


class Receiver(Desk):
    """Consumes."""

    def consume(self, **options: Any) -> None:
        self.ask(spec.Basic.Qos(prefetch_count=64), spec.Basic.Consume(queue="q", consumer_tag="c", **options))
        self.flush()

    def turn(self) -> None:
        """What the loop does when the lane is readable."""
        self.session.look_around()
        self.flush()

    @property
    def tags(self) -> list[int]:
        return [one.delivery_tag for one in self.box.methods if isinstance(one, spec.Basic.Deliver)]

    @property
    def held(self) -> list[Entry]:
        """What it holds, as the store says."""
        with self.hay.read() as reading:
            return [entry for _, entry in reading.taken(self.session.id)]


@pytest.fixture(params=[False, True], ids=["waiting", "looping"])
def sender(request: pytest.FixtureRequest, place: Path) -> Iterator[Sender]:
    one = Sender(place, loop=request.param)
    one.session.handle(PLAIN, spec.Channel.Open())
    one.send(b"first")  # the short way is found when the route is known
    one.flush()
    assert one.take() == [b"first"]
    one.session.journaling.flush()
    one.flush()
    one.box.bodies.clear()
    yield one
    one.session.close()


@pytest.fixture(params=[False, True], ids=["waits", "loops"])
def receiver(request: pytest.FixtureRequest, place: Path, sender: Sender) -> Iterator[Receiver]:
    one = Receiver(place, loop=request.param)
    yield one
    one.session.close()


def pending(desk: Desk) -> int:
    """Messages that the journal is to be told of."""
    with desk.hay.read() as reading:
        return len(list(reading.scan(MESSAGE_ROW)))


@pytest.fixture(params=[False, True], ids=["long", "short"])
def short(request: pytest.FixtureRequest) -> bool:
    """Each way to publish."""
    return bool(request.param)


def test_who_does_not_acknowledge_has_them_from_the_lane(sender: Sender, receiver: Receiver, short: bool) -> None:
    receiver.consume(no_ack=True)
    noted = sender.hay.gates.words[PENDING]
    sender.send(*many(5), short=short)
    assert sender.in_lane == 5 and sender.stored == 0
    receiver.turn()
    assert receiver.box.bodies == many(5)
    assert sender.hay.gates.words[PENDING] == noted, "the disk need not know of them"


def test_who_acknowledges_has_them_when_the_journal_knows(sender: Sender, receiver: Receiver, short: bool) -> None:
    receiver.consume()
    sender.send(*many(5), short=short)
    assert sender.in_lane == 5
    receiver.turn()
    assert receiver.box.bodies == many(5) and not sender.handle.closed
    assert [entry.flags for entry in receiver.held] == [JOURNALED | NOTED] * 5
    assert pending(receiver) == 5 and not receiver.session.holdings.slots
    receiver.ask(spec.Basic.Ack(3, multiple=True))
    receiver.session.holdings.flush_acks()
    assert len(receiver.held) == pending(receiver) == 2, "of the others the journal never hears"
    receiver.session.journaling.flush()
    receiver.flush()
    assert sender.hay.gates.words[FLUSHED] >= sender.hay.gates.words[PENDING] and pending(receiver) == 0


def test_acknowledgements_are_written_down_with_what_comes_next(sender: Sender, receiver: Receiver) -> None:
    receiver.consume()
    sender.send(b"0", b"1")
    receiver.turn()
    receiver.session.way(1)(1)  # type: ignore[misc]
    sender.send(b"2")
    receiver.session.look_around()
    assert receiver.box.bodies == many(3) and len(receiver.held) == 2 and not receiver.session.holdings.acked


def test_transient_ones_stay_where_they_landed(sender: Sender, receiver: Receiver) -> None:
    receiver.consume()
    sender.send(*many(3), properties=BasicProperties())
    receiver.turn()
    assert receiver.box.bodies == many(3) and len(receiver.session.holdings.slots) == 3 and not receiver.held
    sender.send(b"3", properties=BasicProperties())
    sender.send(b"4")
    receiver.turn()
    assert [entry.flags for entry in receiver.held] == [0, JOURNALED | NOTED], "what came together is kept together"


def test_what_is_given_back_comes_again_in_its_place(sender: Sender, receiver: Receiver) -> None:
    receiver.consume()
    sender.send(*many(3))
    receiver.turn()
    receiver.ask(spec.Basic.Nack(1, requeue=True))
    receiver.turn()
    assert receiver.box.bodies == [*many(3), b"0"]
    assert receiver.box.methods[-1].redelivered


@pytest.mark.parametrize("mode", [spec.Confirm.Select(), spec.Tx.Select()], ids=["confirms", "transactions"])
def test_who_waits_for_the_disk_does_not_pass(sender: Sender, receiver: Receiver, mode: Any) -> None:
    receiver.consume()
    sender.session.handle(PLAIN, mode)
    sender.send(b"0")
    if isinstance(mode, spec.Tx.Select):
        sender.session.handle(PLAIN, spec.Tx.Commit())
    sender.flush()
    assert sender.stored == 1 and not sender.session.publisher.enroute.sent_before


def test_what_a_consumer_leaves_is_brought_home(sender: Sender, receiver: Receiver, short: bool) -> None:
    receiver.consume()
    sender.send(*many(4), short=short)
    sender.look()
    assert sender.in_lane == 4, "it may have come just now"
    sender.look()
    assert sender.stored == 4 and not pending(sender) and not sender.session.publisher.enroute.sent_before
    assert sender.hay.gates.words[FLUSHED], "it is on the disk"
    sender.send(b"4", short=short)
    sender.flush()
    receiver.turn()
    assert receiver.box.bodies == many(5)


def test_the_next_message_looks_too(sender: Sender, receiver: Receiver, short: bool) -> None:
    receiver.consume()
    sender.send(b"0", b"1", short=short)
    known = sender.session.publisher.enroute
    known.sent_before[sender.handle] = sender.handle.published
    known.due = 0
    sender.send(b"2", short=short)
    assert sender.stored == 3 and sender.in_lane <= 1
    receiver.turn()
    assert receiver.box.bodies == many(3)


def test_a_stream_is_left_alone(sender: Sender, receiver: Receiver, short: bool) -> None:
    receiver.consume(no_ack=True)
    for begin in range(0, 50, 5):
        sender.send(*many(begin + 5)[begin:], short=short)
        sender.session.publisher.enroute.due = 0
        receiver.turn()
    assert receiver.box.bodies == many(50) and sender.stored == 0


def test_a_lane_that_was_found_empty_is_forgotten(sender: Sender, receiver: Receiver) -> None:
    receiver.consume(no_ack=True)
    sender.send(b"0")
    receiver.turn()
    assert sender.session.publisher.enroute.sent_before
    sender.look()
    assert not sender.session.publisher.enroute.sent_before and not sender.session.journaling.deadline


def test_two_queues_in_turn_are_both_looked_at(sender: Sender, receiver: Receiver) -> None:
    """Each message is of another queue than the one before: that does not put off the look."""
    sender.ask(spec.Queue.Declare(queue="other", durable=True))
    receiver.ask(spec.Basic.Consume(queue="other"))
    receiver.consume()
    known = sender.session.publisher.enroute
    sender.send(b"0")
    due = known.due
    assert due
    for _ in range(3):
        sender.session.handle(PLAIN, spec.Basic.Publish(routing_key="other"), LASTING, b"x")
        sender.send(b"y")
    assert known.due == due and len(known.sent_before) == 2


def test_who_leaves_brings_home_what_is_in_the_lane(sender: Sender, receiver: Receiver) -> None:
    receiver.consume()
    sender.send(*many(3))
    sender.session.close()
    assert receiver.stored == 3 and pending(receiver) == 0, "it is on the disk"
    receiver.turn()
    assert receiver.box.bodies == many(3)


def test_several_queues_each_by_its_lane(sender: Sender, receiver: Receiver) -> None:
    """But one without consumers, which has no lane."""
    for queue in ("r", "s"):
        sender.ask(
            spec.Queue.Declare(queue=queue, durable=True),
            spec.Queue.Bind(queue=queue, exchange="amq.fanout"),
        )
    sender.ask(spec.Queue.Bind(queue="q", exchange="amq.fanout"))
    receiver.ask(spec.Basic.Consume(queue="r", no_ack=True))
    receiver.consume()
    sender.session.handle(PLAIN, spec.Basic.Publish(exchange="amq.fanout"), LASTING, b"x")
    sender.flush()
    counts = {name: sender.hay.count_now(queue.id) for name, queue in sender.session.vhost.topology.queues.items()}
    assert counts == {"q": 0, "r": 0, "s": 1} and len(sender.session.publisher.enroute.sent_before) == 2
    receiver.turn()
    assert receiver.box.bodies == [b"x", b"x"]


@pytest.mark.parametrize("times", [1, 2])
def test_no_room_to_write_them_down(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    receiver.consume()
    left = [OutOfRoom("full")] * times
    keep = WriteTxn.keep_run

    def kept(*arguments: Any) -> None:
        keep(*arguments)
        if left:
            raise left.pop()

    monkeypatch.setattr(WriteTxn, "keep_run", kept)
    sender.send(*many(4))
    receiver.session.look_around()
    assert receiver.box.bodies == ([] if times == 2 else many(4))
    receiver.turn()
    assert receiver.box.bodies == many(4) and len(receiver.held) == 4
    assert not receiver.session.holdings.stranded and receiver.session.holdings.landing.occupied() == []


def test_the_write_lock_cannot_be_had(place: Path, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait where they landed, ahead of what comes next."""
    receiver = Receiver(place, loop=True)
    receiver.consume()
    sender.send(*many(4))
    real = haste._take

    def busy(_: Any) -> None:
        raise Busy("taken")

    monkeypatch.setattr(haste, "_take", busy)
    for source in receiver.session.sources.values():
        source.stir()
    receiver.session.before_sleep()
    assert receiver.box.bodies == [] and receiver.session.stalled and sender.in_lane == 0
    monkeypatch.setattr(haste, "_take", real)
    sender.send(*many(6)[4:])
    receiver.session.on_timer()
    receiver.turn()
    assert receiver.box.bodies == many(6) and len(receiver.held) == 6
    receiver.session.close()


def test_a_dead_consumer_leaves_them_to_the_journal(place: Path, sender: Sender, receiver: Receiver) -> None:
    """Killed between the kernel's copy and the transaction that writes them down."""
    receiver.consume()
    sender.send(*many(3))
    source = receiver.session.sources[sender.handle.id]
    lane = source.handle.current_lane()
    assert lane is not None
    receiver.session.holdings.landing.take_some(lane, sender.handle.id, 3)
    receiver.session.close()
    assert sender.stored == 3
    with sender.hay.read() as reading:
        assert [entry.flags & JOURNALED for entry in reading.entries(sender.handle.id, 9)] == [JOURNALED] * 3


def test_bytes_of_a_stranger_beside_them(sender: Sender, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.consume()
    sender.send(b"0")
    lane = sender.handle.current_lane()
    assert lane is not None and lane.send(b"\x01" * 100)
    sender.send(b"1")
    receiver.turn()
    assert receiver.box.bodies == many(2) and "no haypile message" in caplog.text
    assert receiver.session.holdings.landing.occupied() == []


def test_the_times_agree() -> None:
    """The loop looks as often as the next message would."""
    assert enroute.DELAY == journaling.DELAY * 1e9

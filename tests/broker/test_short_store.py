"""The short way of a message that no lane takes, in a program that waits for each: it does what the long one does."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker.express import LARGE
from haypile.broker.homing import Homing
from haypile.broker.session import Session
from haypile.hay.counters import PUBLISHED
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import DISK_ALARM
from haypile.hay.store import Hay
from haypile.hay.txn import WriteTxn
from tests.broker.test_batch import LASTING, Desk, many
from tests.broker.test_batch_plain import PLAIN, open_desk, place

__all__ = ["place"]

#: Publishes a body to a queue with properties.
Publish = Callable[..., None]


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = open_desk(place, loop=False)
    yield one
    one.session.close()


def the_way(desk: Desk, queue: str = "q") -> Callable[..., bool | None]:
    """The short one; it is found when the route is known."""
    desk.session.publisher.route("", queue, None)
    way = desk.session.way(PLAIN, "", queue)
    assert way is not None
    return way


@pytest.fixture(params=["long", "short"])
def publish(request: pytest.FixtureRequest, desk: Desk) -> Publish:
    """Each way to publish; the short one must not leave it to the other."""

    def long(body: bytes, properties: BasicProperties | None = None, queue: str = "q") -> None:
        desk.session.handle(PLAIN, spec.Basic.Publish(routing_key=queue), properties or BasicProperties(), body)

    def short(body: bytes, properties: BasicProperties | None = None, queue: str = "q") -> None:
        assert the_way(desk, queue)(body, properties) is True

    return long if request.param == "long" else short


def declare(desk: Desk, queue: str, **arguments: Any) -> None:
    named = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    desk.ask(spec.Queue.Declare(queue=queue, durable=True, arguments=named))


def get(desk: Desk, queue: str) -> list[bytes]:
    """All of a queue's messages."""
    del desk.box.bodies[:]
    desk.ask(*[spec.Basic.Get(queue=queue, no_ack=True)] * 20)
    return desk.box.bodies


def later(desk: Desk, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """So much later the loop turns."""
    monkeypatch.setattr(desk.hay, "offset", desk.hay.offset + milliseconds * 1_000_000)
    desk.session.on_timer()


def test_each_is_stored_at_once(desk: Desk, publish: Publish) -> None:
    for number, body in enumerate(many(5)):
        publish(body)
        assert desk.stored == number + 1
    handle = desk.session.handle_for(desk.session.vhost.topology.queues["q"])
    assert handle.counts[PUBLISHED] == handle.published == 5
    assert desk.take() == many(5)


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({"max_priority": 5}, [b"3", b"7", b"2", b"6", b"1", b"5", b"0", b"4"]),
        ({"max_length": 3}, [b"5", b"6", b"7"]),
        ({"max_length": 3, "overflow": "reject-publish"}, [b"0", b"1", b"2"]),
        ({"message_ttl": 60_000}, many(8)),
    ],
    ids=str,
)
def test_a_queue_has_its_rules(desk: Desk, publish: Publish, rules: dict[str, Any], left: list[bytes]) -> None:
    declare(desk, "ruled", **rules)
    for body in many(8):
        publish(body, BasicProperties(priority=int(body) % 4), "ruled")
    assert get(desk, "ruled") == left


def test_messages_expire(desk: Desk, publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(desk, "brief", message_ttl=50, dead_letter_exchange="", dead_letter_routing_key="q")
    for body in many(3):
        publish(body, None, "brief")
    later(desk, monkeypatch, 100)
    assert get(desk, "brief") == [] and get(desk, "q") == many(3)


def test_messages_that_expire_by_themselves(
    desk: Desk, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for body, expiration in ((b"0", "50"), (b"1", "60000"), (b"2", "50"), (b"3", None)):
        publish(body, BasicProperties(expiration=expiration))
    later(desk, monkeypatch, 100)
    assert desk.stored == 3, "messages expire at the head of the queue"
    assert desk.take() == [b"1", b"3"]


@pytest.mark.parametrize("expiration", ["", "soon", "1s", "-1", "315360000001", 60_000])
def test_an_expiration_that_is_none_is_left_to_the_long_way(desk: Desk, expiration: Any) -> None:
    assert the_way(desk)(b"x", BasicProperties(expiration=expiration)) is None and not desk.stored


def test_persistent_ones_outlive_the_host(desk: Desk, publish: Publish, place: Path) -> None:
    publish(b"not")
    publish(b"lasts", LASTING)
    desk.session.close()
    shutil.rmtree(place / "vhost")
    other = Desk(place)
    assert other.take() == [b"lasts"]
    other.session.close()


def test_with_the_journal_s_disk_full_it_is_left_to_the_long_way(desk: Desk) -> None:
    way = the_way(desk)
    desk.hay.gates.words[DISK_ALARM] = 1
    assert way(b"x", LASTING) is None and way(b"x", None) and desk.stored == 1
    desk.hay.gates.words[DISK_ALARM] = 0


def test_large_ones_are_left_to_the_long_way(desk: Desk) -> None:
    """RabbitMQ's limit is looked for there."""
    assert the_way(desk)(bytes(LARGE), None) is None and not desk.stored


@pytest.mark.parametrize("when", ["before", "at the end of the transaction"])
def test_no_room(desk: Desk, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The long way says what that means; nothing was done."""
    way = the_way(desk)
    with monkeypatch.context() as full:

        def refuse(*_: Any, **__: Any) -> None:
            raise OutOfRoom("full")

        full.setattr(*((Hay, "admit", refuse) if when == "before" else (WriteTxn, "put", refuse)))
        assert way(b"x", None) is None
    assert not desk.stored
    assert desk.session.handle_for(desk.session.vhost.topology.queues["q"]).published == 0
    assert way(b"x", None) and desk.take() == [b"x"]


def test_a_consumer_comes_and_goes(desk: Desk, place: Path) -> None:
    """The same way leads to its lane, and back to the store."""
    way, other = the_way(desk), Desk(place)
    assert way(b"0", None)
    other.ask(spec.Basic.Qos(prefetch_count=0), spec.Basic.Consume(queue="q", consumer_tag="c", no_ack=True))
    other.flush()
    assert other.box.bodies == [b"0"]
    way = the_way(desk)  # a consumer is a change of the topology
    assert way(b"1", None)
    handle = desk.session.handle_for(desk.session.vhost.topology.queues["q"])
    assert handle.lane is not None and handle.lane.depth() == 1 and not handle.closed
    with desk.hay.write():
        handle.close_gate()
    assert handle.closed and way(b"2", None) and desk.stored == 1
    other.session.look_around()
    assert other.box.bodies == many(3)
    other.session.close()


def test_the_queue_is_deleted(desk: Desk, place: Path) -> None:
    way, other = the_way(desk), Desk(place)
    other.ask(spec.Queue.Delete(queue="q"))
    assert way(b"x", None) is False
    other.session.close()


def test_a_lane_is_retired_meanwhile(desk: Desk, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a message was sent into it: it is brought home."""
    other, came = Desk(place), []
    other.ask(spec.Basic.Consume(queue="q", consumer_tag="c"))
    way = the_way(desk)
    assert way(b"0", None)
    monkeypatch.setattr(Homing, "rescue", lambda _, handle: came.append(handle.id))
    handle = desk.session.handle_for(desk.session.vhost.topology.queues["q"])
    offer = type(handle).offer

    def retired_meanwhile(self: Any, record: bytes, patience: float) -> bool:
        sent = offer(self, record, patience)
        self.generation = -1
        return sent

    monkeypatch.setattr(type(handle), "offer", retired_meanwhile)
    assert the_way(desk)(b"1", None) and came == [handle.id]
    other.session.close()


def test_ctrl_c_leaves_no_lock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it falls: others can write, and so can we."""
    way = the_way(desk)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for microseconds in range(1, 200):
            try:
                signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
                for _ in range(50):
                    way(b"x", None)
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert not desk.hay.lock._is_owned() and not desk.hay.write().active
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 50
    stored = desk.stored
    writer = threading.Thread(target=lambda: publish_elsewhere(desk.session))
    writer.start()
    writer.join(10)
    assert not writer.is_alive() and desk.stored == stored + 1


def publish_elsewhere(session: Session) -> None:
    """From another thread, which has to be given the lock."""
    queue = session.vhost.topology.queues["q"].id
    with session.vhost.hay.write() as txn:
        txn.put(queue, b"\xff" * 13, b"x")

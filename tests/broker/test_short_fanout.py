"""The short way of a message to several queues: it does what the long one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker.express import LARGE
from haypile.broker.homing import Homing
from haypile.broker.queue import QueueHandle
from haypile.hay.counters import PUBLISHED
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import DISK_ALARM
from haypile.hay.store import Hay
from haypile.hay.txn import WriteTxn
from tests.broker.test_batch import LASTING, Desk, Holder, many, transactions
from tests.broker.test_batch_plain import PLAIN, open_desk, place

__all__ = ["place"]

Publish = Callable[..., None]
#: Durable, and not.
QUEUES = ("a", "b", "c")


@pytest.fixture(params=[False, True], ids=["waits", "loop"])
def desk(request: pytest.FixtureRequest, place: Path) -> Iterator[Desk]:
    """With queues bound to exchange ``x``."""
    one = open_desk(place, loop=request.param)
    one.ask(spec.Exchange.Declare(exchange="x", type="fanout"))
    for name in QUEUES:
        declare(one, name, durable=name == "a")
    yield one
    one.session.close()


def declare(desk: Desk, queue: str, durable: bool = False, **arguments: Any) -> None:
    named = {"x-" + name.replace("_", "-"): value for name, value in arguments.items()}
    desk.ask(
        spec.Queue.Declare(queue=queue, durable=durable, arguments=named), spec.Queue.Bind(queue=queue, exchange="x")
    )
    desk.flush()


def the_way(desk: Desk) -> Callable[..., bool | None]:
    """The short one; it is found when the route is known."""
    desk.session.publisher.route("x", "", None)
    way = desk.session.way(PLAIN, "x", "")
    assert way is not None
    return way


def publish_long(desk: Desk, body: bytes, properties: BasicProperties | None = None) -> None:
    desk.session.handle(PLAIN, spec.Basic.Publish(exchange="x"), properties or BasicProperties(), body)


@pytest.fixture(params=["long", "short"])
def publish(request: pytest.FixtureRequest, desk: Desk) -> Publish:
    """Each way to publish. On a loop those that wait in the batch are followed by others the long way."""

    def short(body: bytes, properties: BasicProperties | None = None) -> None:
        way = the_way(desk)
        batched = bool(desk.session.batch.items)
        sent = way(body, properties)
        assert sent or (sent is None and batched)
        if not sent:
            publish_long(desk, body, properties)

    return short if request.param == "short" else lambda *arguments: publish_long(desk, *arguments)


def get(desk: Desk, queue: str) -> list[bytes]:
    """All of a queue's messages."""
    desk.flush()
    del desk.box.bodies[:]
    desk.ask(*[spec.Basic.Get(queue=queue, no_ack=True)] * 40)
    return list(desk.box.bodies)


def handles(desk: Desk) -> list[QueueHandle]:
    topology = desk.session.vhost.topology
    return [desk.session.handle_for(topology.queues[name]) for name in QUEUES]


def consume(place: Path, *queues: str) -> Desk:
    """Another session, which has these queues' lanes made and takes what comes when it is asked to."""
    other = Desk(place)
    other.ask(*[spec.Basic.Consume(queue=queue, consumer_tag=queue, no_ack=True) for queue in queues])
    other.flush()
    return other


def test_each_queue_has_each(desk: Desk, publish: Publish) -> None:
    for body in many(5):
        publish(body)
    assert [get(desk, name) for name in QUEUES] == [many(5)] * 3
    assert [(one.counts[PUBLISHED], one.published) for one in handles(desk)] == [(5, 5)] * 3


def test_the_store_has_all_of_one_message_in_one_transaction(desk: Desk) -> None:
    way, before = the_way(desk), transactions(desk)
    assert way(b"x", None)
    desk.flush()
    assert transactions(desk) == before + 1


def test_some_have_consumers(desk: Desk, publish: Publish, place: Path) -> None:
    """What their lanes hold goes there, and the rest to the store; each queue has one order."""
    other = consume(place, "a", "b")
    for body in many(40):
        publish(body)
    lane = handles(desk)[0].lane
    assert lane is not None and lane.depth()
    assert get(desk, "c") == many(40)
    other.session.look_around()
    other.flush()
    assert sorted(other.box.bodies) == sorted(many(40) * 2)
    other.session.close()


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
def test_queues_have_their_rules(desk: Desk, publish: Publish, rules: dict[str, Any], left: list[bytes]) -> None:
    declare(desk, "ruled", **rules)
    for body in many(8):
        publish(body, BasicProperties(priority=int(body) % 4))
    assert get(desk, "ruled") == left and get(desk, "b") == many(8)


def test_messages_expire_in_a_lane(desk: Desk, publish: Publish, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(desk, "brief", message_ttl=50)
    other = consume(place, "brief")
    for body in many(3):
        publish(body)
    desk.flush()
    monkeypatch.setattr(desk.hay, "offset", desk.hay.offset + 100_000_000)
    monkeypatch.setattr(other.hay, "offset", other.hay.offset + 100_000_000)
    desk.session.on_timer()
    other.session.look_around()
    other.flush()
    assert not other.box.bodies and get(desk, "b") == many(3)
    other.session.close()


@pytest.mark.parametrize(
    "properties",
    [LASTING, BasicProperties(expiration="60000"), BasicProperties(headers={"a": 1}), BasicProperties(user_id="me")],
    ids=["to be kept", "expiration", "headers", "user id"],
)
def test_what_is_left_to_the_long_way(desk: Desk, properties: BasicProperties) -> None:
    way = the_way(desk)
    assert way(b"x", properties) is None and way(bytes(LARGE + 1), None) is None
    assert not any(one.published for one in handles(desk)) and not desk.session.batch.items


def test_with_the_journal_s_disk_full_the_others_go_on(desk: Desk) -> None:
    way = the_way(desk)
    desk.hay.gates.words[DISK_ALARM] = 1
    assert way(b"x", LASTING) is None and way(b"x", None)
    desk.hay.gates.words[DISK_ALARM] = 0
    assert get(desk, "b") == [b"x"]


def test_there_is_none_with_confirms_or_transactions(desk: Desk) -> None:
    desk.session.publisher.route("x", "", None)
    assert desk.session.way(1, "x", "") is None
    way = the_way(desk)
    desk.session.handle(PLAIN, spec.Tx.Select())
    assert way(b"x", None) is False and desk.session.way(PLAIN, "x", "") is None


def test_a_queue_is_deleted(desk: Desk, place: Path) -> None:
    way, other = the_way(desk), Desk(place)
    other.ask(spec.Queue.Delete(queue="b"))
    assert way(b"x", None) is False
    other.session.close()


def test_a_closed_session_s_way_leads_nowhere(desk: Desk) -> None:
    way = the_way(desk)
    desk.session.closing = True
    assert way(b"x", None) is False
    desk.session.closing = False


@pytest.mark.parametrize("when", ["before", "at the end of the transaction"])
def test_no_room(desk: Desk, publish: Publish, place: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The client is told to wait; once there is room each queue has the message, once, and then what came after it."""
    other = consume(place, "a")
    with monkeypatch.context() as full:

        def refuse(*_: Any, **__: Any) -> None:
            raise OutOfRoom("full")

        full.setattr(*((Hay, "admit", refuse) if when == "before" else (WriteTxn, "put_shared", refuse)))
        publish(b"0")
        if not (desk.session.sliced and when != "before"):
            assert [type(one) for one in desk.box.methods[-1:]] == [spec.Connection.Blocked]
            assert the_way(desk)(b"1", None) is False
    publish_long(desk, b"1")
    desk.session.on_timer()
    assert [get(desk, name) for name in ("b", "c")] == [[b"0", b"1"]] * 2
    other.flush()
    other.session.look_around()
    assert other.box.bodies == [b"0", b"1"]
    other.session.close()


def test_a_lane_is_retired_meanwhile(desk: Desk, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a message was sent into it: it is brought home."""
    other, came = consume(place, "b"), []
    way = the_way(desk)
    monkeypatch.setattr(Homing, "rescue", lambda _, handle: came.append(handle.id))
    retired, offer = handles(desk)[1], QueueHandle.offer

    def retired_meanwhile(self: QueueHandle, record: bytes, patience: float) -> bool:
        sent = offer(self, record, patience)
        if self is retired:
            self.generation = -1
        return sent

    monkeypatch.setattr(QueueHandle, "offer", retired_meanwhile)
    assert way(b"1", None) and came == [retired.id]
    other.session.close()


@pytest.mark.parametrize("desk", [True], indirect=True, ids=["loop"])
def test_a_retired_lane_that_waits_for_the_lock_comes_first(
    desk: Desk, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no lane took is stored behind it, and nothing of it twice."""
    other = consume(place, "b")
    way, retired, offer = the_way(desk), handles(desk)[1], QueueHandle.offer
    assert way(b"0", None)
    desk.flush()

    def retired_meanwhile(self: QueueHandle, record: bytes, patience: float) -> bool:
        sent = offer(self, record, patience)
        if self is retired and sent:
            self.generation = -1
        return sent

    holder = Holder(desk.hay)
    with monkeypatch.context() as racing:
        racing.setattr(QueueHandle, "offer", retired_meanwhile)
        assert way(b"1", None)
    assert desk.session.homing.lanes and len(desk.session.pressure.waiting) == 2
    assert way(b"2", None) is False
    publish_long(desk, b"2")
    holder.let_go()
    for _ in range(10):  # it lets the loop turn in between
        desk.session.on_timer()
    assert not desk.session.pressure.waiting
    assert [get(desk, name) for name in ("a", "c")] == [many(3)] * 2
    other.session.look_around()
    other.flush()
    assert other.box.bodies == many(3)
    other.session.close()

"""Publishes without confirms on a loop: what a turn publishes is stored together, however it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import batch
from haypile.broker.express import LARGE
from haypile.hay.errors import OutOfRoom
from haypile.hay.store import Hay
from tests.broker.test_batch import Desk, Holder, before_each_put, many, transactions
from tests.support.vhosts import make_state_directory, remove_state_directory

#: Publishes one body to queue q on a channel without confirms.
Publish = Callable[[bytes], None]
PLAIN = 2


@pytest.fixture
def place() -> Iterator[Path]:
    directory = make_state_directory()
    yield directory
    remove_state_directory(directory)


def open_desk(place: Path, *, loop: bool = True) -> Desk:
    """A desk with a channel that knows no confirms, too."""
    desk = Desk(place, loop=loop)
    desk.session.handle(PLAIN, spec.Channel.Open())
    return desk


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = open_desk(place)
    yield one
    one.session.close()


@pytest.fixture(params=["long", "short"])
def publish(request: pytest.FixtureRequest, desk: Desk) -> Publish:
    """Each way to publish."""

    def long(body: bytes) -> None:
        desk.session.handle(PLAIN, spec.Basic.Publish(routing_key="q"), BasicProperties(), body)

    def short(body: bytes) -> None:
        way = desk.session.way(PLAIN, "", "q")
        if way is None or not way(body, None):
            long(body)

    if request.param == "long":
        return long
    long(b"before")  # it is found when the route is known
    desk.flush()
    assert desk.session.way(PLAIN, "", "q") is not None
    desk.take()
    desk.box.bodies.clear()
    return short


def test_one_transaction_for_a_turn_of_the_loop(desk: Desk, publish: Publish) -> None:
    before = transactions(desk)
    for body in many(50):
        publish(body)
    assert (desk.stored, transactions(desk)) == (0, before)
    desk.session.before_sleep()
    assert (desk.stored, transactions(desk)) == (50, before + 1)
    assert not desk.confirmed
    assert desk.take() == many(50)


def test_many_do_not_wait_for_the_turn(desk: Desk, publish: Publish) -> None:
    for body in many(2 * batch.MOST + 5):
        publish(body)
    assert desk.stored == 2 * batch.MOST
    desk.session.before_sleep()
    assert desk.take() == many(2 * batch.MOST + 5)


def test_a_program_that_waits_anyway_has_each_stored_at_once(place: Path) -> None:
    """As BlockingConnection's sessions."""
    desk = open_desk(place, loop=False)
    for number in range(1, 4):
        desk.session.handle(PLAIN, spec.Basic.Publish(routing_key="q"), BasicProperties(), b"x")
        assert desk.stored == number
    way = desk.session.way(PLAIN, "", "q")
    assert way is not None and way(b"x", None) and desk.stored == 4
    desk.session.close()


def test_what_is_asked_afterwards_finds_them(desk: Desk, publish: Publish) -> None:
    for body in many(3):
        publish(body)
    desk.session.handle(1, spec.Queue.Declare(queue="q", passive=True))
    assert desk.box.methods[-1].message_count == 3


def test_between_messages_with_confirms(desk: Desk, publish: Publish) -> None:
    """One order for all of a session's; confirms are for those that have them."""
    bodies = many(40)
    for at, body in enumerate(bodies):
        if at // 4 % 2:
            desk.publish(body)
        else:
            publish(body)
    for _ in range(3):
        desk.flush()
    assert desk.confirmed[-1][0] == 20
    assert desk.take() == bodies


def test_large_ones_between(desk: Desk, publish: Publish) -> None:
    sizes = [10, LARGE, 10, 2 * LARGE, 0, 9000]
    for size in sizes:
        publish(bytes(size))
    desk.session.before_sleep()
    assert [len(body) for body in desk.take()] == sizes


def test_the_queue_is_deleted_meanwhile(desk: Desk, publish: Publish, place: Path) -> None:
    """By another connection: nobody gets them, and nothing breaks."""
    for body in many(3):
        publish(body)
    other = Desk(place)
    other.ask(spec.Queue.Delete(queue="q"))
    publish(b"3")
    desk.session.before_sleep()
    other.ask(spec.Queue.Declare(queue="q", durable=True))
    publish(b"4")
    desk.session.before_sleep()
    assert other.take() == [b"4"]
    other.session.close()


def test_the_end_stores_them(desk: Desk, publish: Publish, place: Path) -> None:
    for body in many(3):
        publish(body)
    desk.session.close()
    other = Desk(place)
    assert other.take() == many(3)
    other.session.close()


@pytest.mark.parametrize("count", [3, 3 * batch.MOST])
def test_the_loop_does_not_wait_for_the_lock(desk: Desk, publish: Publish, count: int) -> None:
    """What waits for it comes in order, once."""
    holder = Holder(desk.hay)
    for body in many(count)[:-1]:
        publish(body)
    desk.session.before_sleep()
    publish(many(count)[-1])
    assert not desk.stored
    holder.let_go()
    turn(desk)
    desk.session.before_sleep()
    assert desk.take() == many(count)


def turn(desk: Desk) -> None:
    """The loop turns until nothing waits."""
    desk.session.on_timer()
    while desk.session.pressure.waiting:
        desk.session.on_timer()


@pytest.mark.parametrize("when", ["published", "stored"])
def test_no_room(desk: Desk, publish: Publish, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The client is told that it is blocked until all are stored, in order, once."""
    real_admit = Hay.admit
    room = {"left": 7}

    def use() -> None:
        if not room["left"]:
            raise OutOfRoom("full")
        room["left"] -= 1

    def admit(self: Hay, size: int, more: bool = False) -> None:
        use()
        real_admit(self, size, more)

    if when == "published":
        monkeypatch.setattr(Hay, "admit", admit)
    else:
        before_each_put(monkeypatch, use)
    for body in many(10):
        publish(body)
    desk.session.before_sleep()
    assert any(isinstance(one, spec.Connection.Blocked) for one in desk.box.methods)
    publish(b"10")
    room["left"] = 99
    turn(desk)
    desk.session.before_sleep()
    told: list[Any] = [type(one).NAME for one in desk.box.methods]
    assert [name for name in told if name.startswith("Connection")] == ["Connection.Blocked", "Connection.Unblocked"]
    assert desk.take() == many(11)


def test_a_queue_that_refuses_some(desk: Desk) -> None:
    """By its limits, as if each had been stored by itself."""
    desk.ask(spec.Queue.Declare(queue="s", arguments={"x-max-length": 2, "x-overflow": "reject-publish"}))
    for body in many(4):
        desk.session.handle(PLAIN, spec.Basic.Publish(routing_key="s"), BasicProperties(), body)
    desk.session.before_sleep()
    desk.ask(*[spec.Basic.Get(queue="s", no_ack=True)] * 3)
    assert desk.box.bodies == many(2)


def test_to_several_queues(desk: Desk) -> None:
    """Some of them with an expiry."""
    desk.ask(
        spec.Queue.Declare(queue="r", arguments={"x-message-ttl": 60_000}),
        *[spec.Queue.Bind(queue=name, exchange="amq.fanout") for name in ("q", "r")],
    )
    for body in many(3):
        desk.session.handle(PLAIN, spec.Basic.Publish(exchange="amq.fanout"), BasicProperties(priority=3), body)
    desk.session.before_sleep()
    assert desk.take() == many(3)
    desk.box.bodies.clear()
    desk.ask(*[spec.Basic.Get(queue="r", no_ack=True)] * 3)
    assert desk.box.bodies == many(3)


def test_what_is_kept_back_is_not_for_publishers(
    desk: Desk, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed transaction gives up the reserve, and the next one would succeed by it: the client stays blocked."""
    real_admit = Hay.admit
    full = True

    def refuse() -> None:
        raise OutOfRoom("full")

    def admit(self: Hay, size: int, more: bool = False) -> None:
        if full:
            raise OutOfRoom("full")
        real_admit(self, size, more)

    publish(b"0")
    with monkeypatch.context() as patch:
        before_each_put(patch, refuse)
        desk.session.before_sleep()
    monkeypatch.setattr(Hay, "admit", admit)
    for _ in range(3):
        desk.session.on_timer()
    assert not desk.stored
    assert not any(isinstance(one, spec.Connection.Unblocked) for one in desk.box.methods)
    full = False
    turn(desk)
    assert any(isinstance(one, spec.Connection.Unblocked) for one in desk.box.methods)
    assert desk.take() == [b"0"]

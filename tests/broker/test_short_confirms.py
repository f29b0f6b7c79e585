"""The short way of persistent messages whose confirms are awaited together, on a loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import batch
from haypile.broker.express import LARGE, Way
from haypile.hay import haste
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import DISK_ALARM
from haypile.hay.store import Hay
from tests.broker.test_batch import LASTING, Desk, Holder, many, transactions
from tests.support.vhosts import make_state_directory, remove_state_directory


@pytest.fixture
def desk() -> Iterator[Desk]:
    place = make_state_directory()
    one = Desk(place, loop=True)
    one.publish(b"before")
    settle(one)
    one.take()
    one.box.bodies.clear()
    one.box.methods.clear()
    yield one
    one.session.close()
    remove_state_directory(place)


def settle(desk: Desk) -> None:
    """All that is published is confirmed."""
    for _ in range(4):
        desk.session.on_timer()
        desk.flush()


def way_of(desk: Desk) -> Way:
    way: Any = desk.session.way(1, "", "q")
    assert way is not None
    found: Way = way
    return found


def test_one_transaction_and_one_confirm(desk: Desk) -> None:
    way, before = way_of(desk), transactions(desk)
    for body in many(50):
        assert way(body, LASTING)
    assert (desk.stored, transactions(desk)) == (0, before)
    settle(desk)
    assert desk.confirmed == [(51, True)]
    assert desk.take() == many(50)


def test_they_may_expire(desk: Desk) -> None:
    way = way_of(desk)
    assert way(b"0", BasicProperties(delivery_mode=2, expiration="0")) and way(b"1", LASTING)
    settle(desk)
    assert desk.confirmed == [(3, True)]
    assert desk.take() == [b"1"]


def test_what_it_does_not_take(desk: Desk) -> None:
    """It stays for what follows."""
    way = way_of(desk)
    for properties in (
        None,
        BasicProperties(),
        BasicProperties(delivery_mode=1),
        BasicProperties(delivery_mode=2, expiration="soon"),
        BasicProperties(delivery_mode=2, headers={"a": 1}),
        BasicProperties(delivery_mode=2, user_id="guest"),
    ):
        assert way(b"x", properties) is None
    assert way(bytes(LARGE + 1), LASTING) is None
    assert way(b"x", LASTING)


def test_both_ways_in_turn_keep_the_order(desk: Desk) -> None:
    way, bodies = way_of(desk), many(200)
    for at, body in enumerate(bodies):
        if at // 7 % 3:
            assert way(body, LASTING)
        else:
            desk.publish(body)
    settle(desk)
    assert desk.confirmed[-1][0] == 201
    assert desk.take() == bodies


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("queue", ["passing", "lasting"])
def test_where_there_is_one(place: Path, loop: bool, queue: str) -> None:
    """Into a queue that lasts. Where the loop has no other work it is another one (``test_short_confirmed``)."""
    desk = Desk(place, loop=loop)
    desk.ask(spec.Queue.Declare(queue=queue, durable=queue == "lasting"))
    desk.publish(b"x", key=queue)
    settle(desk)
    assert (desk.session.way(1, "", queue) is not None) is (queue == "lasting")
    desk.session.close()


@pytest.fixture
def place() -> Iterator[Path]:
    directory = make_state_directory()
    yield directory
    remove_state_directory(directory)


@pytest.mark.parametrize("change", ["topology", "channel", "session", "disk"])
def test_it_ends_with_what_it_rests_on(desk: Desk, change: str) -> None:
    way = way_of(desk)
    if change == "topology":
        desk.ask(spec.Queue.Declare(queue="another"))
    elif change == "channel":
        desk.ask(spec.Queue.Declare(queue="nowhere", passive=True))
    elif change == "session":
        desk.session.handle(0, spec.Connection.Close(200, "", 0, 0))
    else:
        desk.session.publisher.words[DISK_ALARM] = 1
    assert way(b"x", LASTING) is False
    assert not desk.session.batch.items


def test_while_another_process_has_the_lock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes meanwhile joins what waits, up to a limit; then it waits in line."""
    monkeypatch.setattr(haste, "TRY", 0.0)
    way, holder = way_of(desk), Holder(desk.hay)
    for body in many(batch.LONGEST):
        assert way(body, LASTING)
    assert desk.session.batch.held
    assert way(b"one too many", LASTING) is False
    desk.publish(b"last")
    assert len(desk.session.pressure.waiting) == 2
    assert way(b"after it", LASTING) is False, "it would come before the last one"
    assert not desk.stored
    holder.let_go()
    settle(desk)
    assert desk.confirmed[-1][0] == batch.LONGEST + 2
    assert desk.take() == [*many(batch.LONGEST), b"last"]


def test_no_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has done nothing then; the long way tells the client."""
    way = way_of(desk)

    def admit(*_: object) -> None:
        raise OutOfRoom("full")

    with monkeypatch.context() as patch:
        patch.setattr(Hay, "admit", admit)
        assert way(b"0", LASTING) is None
        desk.publish(b"0")
        assert any(isinstance(one, spec.Connection.Blocked) for one in desk.box.methods)
        assert way(b"1", LASTING) is False
    settle(desk)
    assert desk.confirmed[-1][0] == 2
    assert desk.take() == [b"0"]


def test_a_queue_that_is_due_to_expire_goes_first(desk: Desk) -> None:
    """Who is told that the message is safe must not be told of a queue that is gone."""
    way = way_of(desk)
    desk.hay.gates.due = 1
    assert way(b"x", LASTING) is None

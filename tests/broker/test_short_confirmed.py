"""The short way of a persistent message whose confirm is waited for before the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika.exceptions
import pytest
from pika import spec
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from haypile.broker.express import LARGE, Way
from haypile.broker.publisher import Publisher
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import DISK_ALARM
from haypile.hay.store import Hay
from haypile.wires.local import LocalWire
from tests.broker.test_batch import LASTING, Desk, many
from tests.broker.test_batch_plain import place
from tests.broker.test_short_store import declare, get, later

__all__ = ["place"]


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = Desk(place)
    yield one
    one.session.close()


def way_to(desk: Desk, queue: str = "q") -> Way:
    desk.session.publisher.route("", queue, None)
    way: Any = desk.session.way(1, "", queue)
    assert way is not None
    found: Way = way
    return found


def test_each_is_confirmed_when_it_is_safe(desk: Desk) -> None:
    way = way_to(desk)
    for number, body in enumerate(many(6)):
        if number % 3 == 2:
            desk.publish(body)
        else:
            assert way(body, LASTING) is True
        assert desk.stored == number + 1 and len(desk.confirmed) == number
        desk.flush()
        assert desk.confirmed[-1] == (number + 1, False)
    assert desk.take() == many(6)


def test_one_after_the_other(desk: Desk) -> None:
    """While one waits the next ones are stored together: that is the long way's."""
    way = way_to(desk)
    assert way(b"0", LASTING) is True and way(b"1", LASTING) is False
    desk.publish(b"1", b"2")
    assert way(b"3", LASTING) is False
    desk.publish(b"3")
    desk.flush()
    assert desk.confirmed[-1][0] == 4
    assert desk.take() == many(4)


def test_what_it_does_not_take(desk: Desk) -> None:
    way = way_to(desk)
    for properties in (None, BasicProperties(), BasicProperties(delivery_mode=2, user_id="guest")):
        assert way(b"x", properties) is None
    assert way(bytes(LARGE + 1), LASTING) is None
    desk.hay.gates.words[DISK_ALARM] = 1
    assert way(b"x", LASTING) is False
    desk.hay.gates.words[DISK_ALARM] = 0
    assert way(b"x", LASTING) is True


def test_no_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was done, the number of the publish was not used."""
    way = way_to(desk)
    with monkeypatch.context() as full:

        def refuse(*_: Any) -> None:
            raise OutOfRoom("full")

        full.setattr(Hay, "admit", refuse)
        assert way(b"x", LASTING) is None
    assert way(b"x", LASTING) is True
    desk.flush()
    assert desk.confirmed == [(1, False)] and desk.take() == [b"x"]


def test_a_queue_that_refuses(desk: Desk) -> None:
    declare(desk, "full", max_length=1, overflow="reject-publish")
    way = way_to(desk, "full")
    assert way(b"0", LASTING) is True
    desk.flush()
    assert way(b"1", LASTING) is True
    desk.flush()
    told = [
        (type(one), one.delivery_tag) for one in desk.box.methods if isinstance(one, (spec.Basic.Ack, spec.Basic.Nack))
    ]
    assert told == [(spec.Basic.Ack, 1), (spec.Basic.Nack, 2)]
    assert get(desk, "full") == [b"0"]


def test_what_is_due_comes_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that has expired is there no more: the long way says so."""
    desk.ask(spec.Queue.Declare(queue="brief", durable=True, arguments={"x-expires": 50}))
    way = way_to(desk, "brief")
    monkeypatch.setattr(desk.hay, "offset", desk.hay.offset + 100_000_000)
    assert way(b"x", LASTING) is None
    later(desk, monkeypatch, 0)
    assert way(b"x", LASTING) is False


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What went the long way."""
    found: list[Any] = []
    publish = LocalWire.publish

    def counted(self: LocalWire, *arguments: Any) -> None:
        found.append(arguments)
        publish(self, *arguments)

    monkeypatch.setattr(LocalWire, "publish", counted)
    return found


def test_through_pika(channel: BlockingChannel, long: list[Any]) -> None:
    """Its exceptions are the same on both ways."""
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True, arguments={"x-max-length": 20, "x-overflow": "reject-publish"})
    for number in range(20):
        channel.basic_publish("", "kept", b"%d" % number, LASTING, mandatory=number % 2 == 1)
    assert 8 <= len(long) <= 18, "mandatory ones and the first few"
    for mandatory in (False, True):
        with pytest.raises(pika.exceptions.NackError):
            channel.basic_publish("", "kept", b"x", LASTING, mandatory)
    for number in range(20):
        assert channel.basic_get("kept", auto_ack=True)[2] == b"%d" % number
    channel.basic_publish("", "kept", b"y", LASTING)
    channel.queue_delete("kept")
    channel.basic_publish("", "kept", b"z", LASTING)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("", "kept", b"z", LASTING, mandatory=True)


def test_the_store_fails(channel: BlockingChannel, long: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost, as by the long way, and the program is told."""
    channel.confirm_delivery()
    channel.queue_declare("kept", durable=True)
    for _ in range(10):
        channel.basic_publish("", "kept", b"x", LASTING)
    before = len(long)

    def fail(*_: Any) -> bool:
        raise OSError("no disk")

    with monkeypatch.context() as failing:
        failing.setattr(Publisher, "_store", fail)
        with pytest.raises((pika.exceptions.StreamLostError, OSError)):
            channel.basic_publish("", "kept", b"x", LASTING)
    assert len(long) == before

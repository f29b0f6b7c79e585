"""Looks at queues whose messages expire: one row for many messages, and none too few, whoever is killed when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import due
from haypile.broker.enqueue import Arrivals
from haypile.broker.queue import EXPIRING, NO_LOOK, QueueHandle
from haypile.hay.due import take_due
from haypile.hay.txn import WriteTxn
from tests.broker.test_batch import Desk
from tests.broker.test_batch_plain import place
from tests.broker.test_short_store import declare, later

__all__ = ["place"]

MS = 1_000_000


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = Desk(place)
    declare(one, "brief", message_ttl=1000, dead_letter_exchange="", dead_letter_routing_key="q")
    yield one
    one.session.close()


def publish(desk: Desk, body: bytes, expiration: str | None = None) -> None:
    desk.publish(body, key="brief", properties=BasicProperties(expiration=expiration))


def rows(desk: Desk) -> list[tuple[int, int, int]]:
    """All there are."""

    class Undo(Exception):
        pass

    found = []
    try:
        with desk.hay.write() as txn:
            found = take_due(txn, 1 << 62, 1000)
            raise Undo
    except Undo:
        return found


def get(desk: Desk) -> list[bytes]:
    """The next message, before it expires."""
    del desk.box.bodies[:]
    desk.ask(spec.Basic.Get(queue="brief", no_ack=True))
    return desk.box.bodies


def dead(desk: Desk) -> list[bytes]:
    """Those that have expired."""
    del desk.box.bodies[:]
    return desk.take()


def handle_of(desk: Desk) -> QueueHandle:
    return desk.session.handle_for(desk.session.vhost.topology.queues["brief"])


def word(desk: Desk) -> int:
    handle = handle_of(desk)
    return handle.words[handle.base + EXPIRING]


@pytest.mark.parametrize("waiting", [0, 3])
def test_one_row_for_a_stream(desk: Desk, waiting: int) -> None:
    """Each message is the queue's head for a moment."""
    for number in range(50):
        publish(desk, b"%d" % number)
        if number >= waiting:
            assert get(desk) == [b"%d" % (number - waiting)]
    assert [when for when, _, _ in rows(desk)] == [word(desk)]


def test_what_expires_later_is_looked_at_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(desk, b"0")
    later(desk, monkeypatch, 600)
    publish(desk, b"1")
    assert len(rows(desk)) == 1
    later(desk, monkeypatch, 600)
    assert desk.stored == 1 and len(rows(desk)) == 1, "the head is gone; the next one has a row of its own"
    later(desk, monkeypatch, 600)
    assert dead(desk) == [b"0", b"1"]
    assert not rows(desk) and word(desk) == NO_LOOK
    publish(desk, b"2")
    assert len(rows(desk)) == 1


def test_what_expires_sooner_is_looked_at_sooner(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(desk, b"0")
    assert get(desk) == [b"0"]
    publish(desk, b"1", "100")
    assert len(rows(desk)) == 2
    later(desk, monkeypatch, 200)
    assert dead(desk) == [b"1"]


def test_one_behind_that_expires_sooner_waits_for_its_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages expire at the head of the queue: looked for when they come there."""
    publish(desk, b"0")
    publish(desk, b"1", "100")
    later(desk, monkeypatch, 200)
    assert desk.stored == 0
    assert get(desk) == [b"0"]
    desk.session.on_timer()
    assert dead(desk) == [b"1"]


def test_killed_before_the_word_is_set(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a row too many."""
    with monkeypatch.context() as killed:
        killed.setattr(due, "set_look", lambda *_: None)
        publish(desk, b"0")
    publish(desk, b"1")
    assert get(desk) == [b"0"]
    publish(desk, b"2")
    later(desk, monkeypatch, 1200)
    assert dead(desk) == [b"1", b"2"]


def test_killed_in_a_look(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the word was cleared, before the commit: the row is still there."""
    publish(desk, b"0")

    class Killed(Exception):
        pass

    def kill(*_: object) -> int:
        raise Killed

    with monkeypatch.context() as killed:
        killed.setattr(Arrivals, "expire", kill)
        with pytest.raises(Killed):
            later(desk, killed, 1200)
        assert len(rows(desk)) == 1 and word(desk) == NO_LOOK
    later(desk, monkeypatch, 1200)
    assert dead(desk) == [b"0"]


def test_not_stored_after_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction is rolled back: neither row nor word."""

    def fail(txn: WriteTxn, inner: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as failing:
        failing.setattr(WriteTxn, "_commit_with_news", fail)
        with pytest.raises(RuntimeError):
            publish(desk, b"0")
    assert not rows(desk) and word(desk) == NO_LOOK
    publish(desk, b"1")
    assert [when for when, _, _ in rows(desk)] == [word(desk)]


def test_a_queue_in_the_same_slot(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the queue before it is none at this one."""
    publish(desk, b"0")
    slot = handle_of(desk).queue.slot
    desk.ask(spec.Queue.Delete(queue="brief"))
    declare(desk, "brief", message_ttl=5000, dead_letter_exchange="", dead_letter_routing_key="q")
    assert handle_of(desk).queue.slot == slot and word(desk) == 0
    publish(desk, b"1")
    later(desk, monkeypatch, 5200)
    assert dead(desk) == [b"1"]

"""A consumer that finds the store's lock taken leaves it alone for a moment, where there is little to take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pika import spec

from haypile.broker.backlog import PLENTY
from haypile.hay import writing
from haypile.hay.locking import GATHER, TAKEN
from haypile.hay.store import Hay
from tests.broker.test_batch import Desk, many
from tests.broker.test_batch_plain import place
from tests.broker.test_short_store import declare

__all__ = ["place"]


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = Desk(place)
    declare(one, "ruled", message_ttl=60_000)
    yield one
    one.session.close()


@pytest.fixture
def waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long whoever wants the lock leaves it alone first; it is always found taken."""
    found: list[float] = []
    at_once = desk.hay.lock_at_once

    def taken() -> None:
        raise OSError(TAKEN[0], "taken")

    def take(hay: Hay, gather: float = 0.0) -> None:
        found.append(gather)
        at_once()

    monkeypatch.setattr(desk.hay, "lock_at_once", taken)
    monkeypatch.setattr(writing, "take", take)
    return found


def put(desk: Desk, count: int) -> None:
    for body in many(count):
        desk.session.handle(2, spec.Basic.Publish(routing_key="ruled"), spec.BasicProperties(), body)


def test_who_takes_waits_for_more(desk: Desk, waits: list[float]) -> None:
    desk.session.handle(2, spec.Channel.Open())
    put(desk, 3)
    assert waits == [0.0] * 3, "a publisher does not wait"
    del waits[:]
    desk.ask(spec.Basic.Consume(queue="ruled", consumer_tag="c", no_ack=True))
    desk.flush()
    assert desk.box.bodies == many(3)
    assert waits.count(GATHER) == 1


def test_where_there_is_plenty_it_does_not(desk: Desk, waits: list[float]) -> None:
    desk.session.handle(2, spec.Channel.Open())
    put(desk, 2 * PLENTY)
    desk.ask(spec.Basic.Qos(prefetch_count=PLENTY // 2), spec.Basic.Consume(queue="ruled", consumer_tag="c"))
    desk.flush()
    held = desk.session.holdings
    assert not held.scant and len(desk.box.bodies) == PLENTY // 2
    del waits[:]
    desk.ask(spec.Basic.Ack(0, True))
    desk.flush()
    assert waits and GATHER not in waits
    while len(desk.box.bodies) < 2 * PLENTY:
        desk.ask(spec.Basic.Ack(0, True))
        desk.flush()
    assert held.scant, "that was the end"

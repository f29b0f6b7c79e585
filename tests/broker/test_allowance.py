"""A consumer that takes its time does not slow its publishers down to its pace; one that is quick is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pytest import approx

from haypile.broker.allowance import EACH, LEAST, MOST, Allowance
from haypile.lanes.lane import Lane
from haypile.lanes.posix import PosixLane
from tests.broker.test_batch import Desk, many
from tests.broker.test_batch_plain import open_desk, place
from tests.broker.test_swaths import publish

__all__ = ["place"]


@pytest.fixture
def pair(place: Path) -> Iterator[tuple[Desk, Desk]]:
    """Who publishes, and who consumes."""
    one, other = open_desk(place, loop=False), open_desk(place, loop=False)
    other.ask(spec.Basic.Consume(queue="q", no_ack=True))
    other.flush()
    yield one, other
    other.session.close()
    one.session.close()


def test_each_message_earns_a_time_to_wait() -> None:
    allowance = Allowance()
    assert allowance.left(0) == MOST
    allowance.spend(MOST)
    assert allowance.left(0) == 0
    assert allowance.left(1) == 0, "too little"
    assert allowance.left(10) == approx(10 * EACH)
    assert allowance.left(10) == approx(10 * EACH)
    assert allowance.left(1_000_000) == MOST, "no more is saved up"
    allowance.spend(3 * MOST)
    assert allowance.left(1_000_000 + round(2 * MOST / EACH)) == 0, "it has waited for longer than it might"
    assert allowance.left(1_000_000 + round(2.5 * MOST / EACH)) == approx(MOST / 2)
    assert LEAST < MOST


@pytest.mark.parametrize("pace", [0.00002, 0.001, 0.1])
def test_waiting(pair: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch, pace: float) -> None:
    """``pace``: seconds the consumer takes for a message."""
    desk, other = pair
    now, waits = [0.0], []
    monkeypatch.setattr(desk.session.vhost.clock, "monotonic", lambda: now[0])

    def wait(lane: Lane, record: bytes, seconds: float, *_: Any) -> bool:
        assert seconds <= MOST
        waited = min(pace, seconds)
        now[0] += waited
        waits.append(waited)
        if waited < pace:
            return False
        record_before = lane.receive()
        assert record_before is not None
        taken.append(record_before[-1:])
        return lane.send(record)

    taken: list[bytes] = []
    monkeypatch.setattr(PosixLane, "send_wait", wait)
    bodies = many(2000)
    publish(desk, *bodies)
    quick = pace < EACH
    assert (len(waits) > 1900) == quick
    assert sum(waits) <= MOST + len(bodies) * EACH
    if not quick:
        assert sum(waits) <= 1.2 * MOST, "then by way of the store, which the consumer has not emptied"
    other.session.look_around()
    for _ in range(100):
        other.session.pump()
    assert len(taken) + len(other.box.bodies) == len(bodies)
    assert other.box.bodies == bodies[len(taken) :]

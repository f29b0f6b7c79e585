"""Consumers as rows: order, the single active one, what ends with them."""

from __future__ import annotations

import pytest
from pika import spec

from haypile.broker import declare
from haypile.broker.errors import AccessRefused, InternalError, PreconditionFailed
from haypile.broker.topology import Topology

from .conftest import Desk


def test_consumers_are_listed_in_the_order_they_came(desk: Desk) -> None:
    queue = desk.queue("q")
    for session, tag in ((9, "z"), (1, "a"), (5, "m")):
        desk.do(declare.add_consumer, queue, 1, tag, session=session)
    other = Topology(desk.hay, "/")
    other.sync()
    for topology in (desk.topology, other):
        assert [key[2] for key in topology.queues["q"].consumers] == ["z", "a", "m"]


def test_rows_keep_what_a_consumer_is(desk: Desk) -> None:
    queue = desk.queue("q")
    arguments = {"x-priority": -7, "anything": ["x", 1, None]}
    row = desk.do(declare.add_consumer, queue, 65535, "täg", no_ack=True, prefetch=65535, arguments=arguments)
    other = Topology(desk.hay, "/")
    other.sync()
    assert other.queues["q"].consumers == {(1, 65535, "täg"): row}
    found = other.queues["q"].consumers[(1, 65535, "täg")]
    assert (found.priority, found.arguments, found.no_ack, found.exclusive) == (-7, arguments, True, False)


def test_the_single_active_consumer_passes_on(desk: Desk) -> None:
    queue = desk.queue("q", arguments={"x-single-active-consumer": True})
    for session, priority in ((1, 0), (2, 0), (3, 5)):
        desk.do(declare.add_consumer, queue, 1, "t", session=session, arguments={"x-priority": priority})
    assert queue.active == (1, 1, "t")
    desk.do(declare.remove_consumer, queue, (2, 1, "t"))
    assert queue.active == (1, 1, "t")
    desk.do(declare.add_consumer, queue, 1, "t", session=4)
    desk.do(declare.remove_session, 1)
    assert queue.active == (3, 1, "t")
    desk.do(declare.remove_session, 3)
    assert queue.active == (4, 1, "t")
    desk.do(declare.remove_session, 4)
    assert queue.active is None


def test_exclusive_use(desk: Desk) -> None:
    queue = desk.queue("q")
    desk.do(declare.add_consumer, queue, 1, "t", exclusive=True)
    text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    assert desk.refused(declare.add_consumer, queue, 1, "u", session=2) == (403, text)
    desk.do(declare.remove_consumer, queue, (1, 1, "t"))
    desk.do(declare.add_consumer, queue, 1, "u", session=2)
    with pytest.raises(AccessRefused):
        desk.do(declare.add_consumer, queue, 1, "t", exclusive=True)


def test_an_auto_delete_queue_goes_with_its_last_consumer(desk: Desk) -> None:
    queue = desk.queue("q", auto_delete=True)
    desk.exchange("x", "fanout", auto_delete=True)
    desk.bind("x", "q")
    for tag in ("t", "u"):
        desk.do(declare.add_consumer, queue, 1, tag)
    desk.do(declare.remove_consumer, queue, (1, 1, "t"))
    assert not queue.deleted
    assert desk.do(declare.remove_consumer, queue, (1, 1, "missing")) is False
    desk.do(declare.remove_consumer, queue, (1, 1, "u"))
    assert queue.deleted and desk.deleted == [queue]
    assert "x" not in desk.topology.exchanges


def test_the_end_of_a_session(desk: Desk) -> None:
    own = desk.queue("own", exclusive=True)
    brief = desk.queue("brief", auto_delete=True)
    shared = desk.queue("shared")
    for session in (1, 2):
        for tag in ("t", "u"):
            desk.do(declare.add_consumer, shared, 1, tag, session=session)
    desk.do(declare.add_consumer, brief, 1, "b")
    desk.do(declare.add_consumer, own, 1, "o")
    assert desk.do(declare.remove_session, 1, session=7) == [shared]
    assert {queue.name for queue in desk.deleted} == {"own", "brief"}
    assert {key[0] for key in shared.consumers} == {2}
    assert 1 not in desk.topology.consumers_of and 1 not in desk.topology.exclusive_to
    assert desk.do(declare.remove_session, 1) == []


def test_arguments(desk: Desk) -> None:
    queue = desk.queue("q")
    for wrong in ({"x-priority": "1"}, {"x-stream-offset": 1}, {"x-cancel-on-ha-failover": 0}):
        with pytest.raises(PreconditionFailed):
            desk.do(declare.add_consumer, queue, 1, "t", arguments=wrong)
    with pytest.raises(InternalError):
        desk.do(declare.add_consumer, queue, 1, "t", arguments={"x-credit": 1})
    assert not queue.consumers


def test_counts_when_deleting(desk: Desk) -> None:
    queue = desk.queue("q")
    with desk.hay.write() as txn:
        for number in range(3):
            txn.put(queue.id, bytes(12) + bytes((number,)), b"record")
    assert desk.do(declare.queue_delete, spec.Queue.Delete(queue="q")) == 3
    with desk.hay.read() as txn:
        assert txn.count(queue.id) == (0, 0)

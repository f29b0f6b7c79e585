"""The cache: following the log, reading anew, and what a rolled back transaction leaves."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from pika import spec

from haypile.broker import declare
from haypile.broker.declare.context import Context
from haypile.broker.rows import Destination, LaneRow
from haypile.broker.topology import Queue, Topology
from haypile.hay.gates import CONSUMERS, HEADER_WORDS, SLOT_WORDS

from .conftest import Desk


def show(topology: Topology) -> tuple[object, ...]:
    """Everything a cache knows, to compare with another's."""
    return (
        {
            name: (one.type, one.durable, one.auto_delete, one.internal, one.arguments, set(one.bindings))
            for name, one in topology.exchanges.items()
        },
        {
            name: (one.id, one.slot, one.durable, one.exclusive_owner, one.arguments, one.lane, one.active)
            for name, one in topology.queues.items()
        },
        {name: list(one.consumers.values()) for name, one in topology.queues.items()},
        sorted(topology.by_id),
        {destination: set(bindings) for destination, bindings in topology.bound_to.items()},
        {session: set(consumers) for session, consumers in topology.consumers_of.items()},
        topology.exclusive_to,
    )


def populate(desk: Desk) -> None:
    """A bit of everything."""
    desk.exchange("x", "topic", durable=True)
    desk.exchange("y", "fanout", arguments={"alternate-exchange": "x"})
    desk.queue("a", arguments={"x-max-priority": 5})
    desk.queue("b", exclusive=True, session=2)
    desk.bind("x", "a", "k.*")
    desk.bind_exchange("x", "y", "#")
    desk.do(declare.add_consumer, desk.topology.queues["a"], 1, "t", session=3)
    desk.do(declare.set_lane, desk.topology.queues["a"], LaneRow("/lane", 10, 8192))


def test_a_new_process_sees_what_the_others_see(desk: Desk) -> None:
    populate(desk)
    other = Topology(desk.hay, "/")
    other.sync()
    assert show(other) == show(desk.topology)
    assert other.queues["a"].max_priority == 5
    assert other.queues["a"].lane == LaneRow("/lane", 10, 8192)


def test_following_the_log_comes_to_the_same(desk: Desk) -> None:
    follower = Topology(desk.hay, "/")
    follower.sync()
    populate(desk)
    follower.sync()
    queue = follower.queues["a"]
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="b"), session=2)
    desk.do(declare.exchange_delete, spec.Exchange.Delete(exchange="x"))
    desk.exchange("x", "direct")
    desk.bind("x", "a", "k")
    follower.sync()
    fresh = Topology(desk.hay, "/")
    fresh.sync()
    assert show(follower) == show(fresh) == show(desk.topology)
    assert follower.queues["a"] is queue


def test_reading_all_anew_keeps_the_queues_that_are_the_same(desk: Desk) -> None:
    behind = Topology(desk.hay, "/")
    populate(desk)
    behind.sync()
    kept, lost = behind.queues["a"], behind.queues["b"]
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="b"), session=2)
    desk.queue("b")
    desk.do(declare.exchange_delete, spec.Exchange.Delete(exchange="x"))
    desk.exchange("x", "fanout")
    desk.bind("x", "a", "k.*")
    behind.version = -1
    assert behind.sync() == [lost]
    assert show(behind) == show(desk.topology)
    assert behind.queues["a"] is kept and lost.deleted
    assert [queue.name for queue in behind.route("x", "anything").queues] == ["a"]


def test_an_exchange_made_anew_keeps_bindings_that_are_the_same(desk: Desk) -> None:
    behind = Topology(desk.hay, "/")
    desk.exchange("x", "direct")
    desk.queue("a")
    desk.bind("x", "a", "k")
    behind.sync()
    desk.do(declare.exchange_delete, spec.Exchange.Delete(exchange="x"))
    desk.exchange("x", "direct", durable=True)
    desk.bind("x", "a", "k")
    behind.version = -1
    behind.sync()
    assert show(behind) == show(desk.topology)
    assert [queue.name for queue in behind.route("x", "k").queues] == ["a"]


class Interrupted(Exception):
    """What ends a transaction in the middle."""


def interrupt(ctx: Context) -> None:
    """Change a lot, then fail."""
    topology = ctx.topology
    declare.exchange_delete(ctx, spec.Exchange.Delete(exchange="x"))
    declare.delete_queue(ctx, topology.queues["a"])
    declare.queue_declare(ctx, spec.Queue.Declare(queue="a", durable=True))
    declare.queue_declare(ctx, spec.Queue.Declare(queue="new"))
    declare.remove_session(ctx, 2)
    raise Interrupted


def test_a_rolled_back_transaction_leaves_nothing(desk: Desk) -> None:
    populate(desk)
    before, queue = show(desk.topology), desk.topology.queues["a"]
    told: list[Queue] = []
    desk.topology.on_queue_deleted.append(told.append)
    with pytest.raises(Interrupted):
        desk.do(interrupt)
    desk.topology.sync()
    assert show(desk.topology) == before
    assert desk.topology.queues["a"] is queue and not queue.deleted
    assert told == []
    desk.queue("after")
    assert set(desk.topology.queues) == {"a", "b", "after"}


def test_rolled_back_then_changed_by_another(desk: Desk) -> None:
    other = Desk(desk.hay)
    desk.queue("a")
    with pytest.raises(Interrupted):
        desk.do(declare_and_fail)
    other.queue("y1")
    assert desk.topology.version == other.topology.version
    desk.topology.sync()
    assert set(desk.topology.queues) == {"a", "y1"}


def declare_and_fail(ctx: Context) -> None:
    """One change, then the end of the transaction."""
    declare.queue_declare(ctx, spec.Queue.Declare(queue="x1"))
    raise Interrupted


def test_inside_the_transaction_its_changes_show(desk: Desk) -> None:
    def look(ctx: Context) -> None:
        declare.queue_declare(ctx, spec.Queue.Declare(queue="a"))
        ctx.topology.sync()
        ctx.topology.sync(ctx.txn)
        assert [queue.name for queue in ctx.topology.route("", "a").queues] == ["a"]

    desk.do(look)


def test_listeners_hear_of_deleted_queues_once_it_is_certain(desk: Desk) -> None:
    other = Topology(desk.hay, "/")
    here: list[str] = []
    there: list[str] = []
    desk.topology.on_queue_deleted.append(lambda queue: here.append(queue.name))
    other.on_queue_deleted.append(lambda queue: there.append(queue.name))
    desk.queue("a")
    other.sync()
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="a"))
    assert (here, there) == (["a"], [])
    other.sync()
    assert there == ["a"]


def test_a_deleted_queue_still_shows_what_it_was(desk: Desk) -> None:
    populate(desk)
    other = Topology(desk.hay, "/")
    other.sync()
    queue = other.queues["a"]
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="a"))
    assert [one.name for one in desk.deleted] == ["a"]
    other.sync()
    for gone in (queue, desk.deleted[0]):
        assert gone.deleted and gone.lane == LaneRow("/lane", 10, 8192)
        assert list(gone.consumers) == [(3, 1, "t")]
    assert Destination(True, "a") not in desk.topology.bound_to


def test_the_slot_counts_consumers(desk: Desk) -> None:
    queue = desk.queue("a")
    words, base = desk.hay.gates.words, HEADER_WORDS + SLOT_WORDS * queue.slot
    for number in range(3):
        desk.do(declare.add_consumer, queue, 1, f"t{number}")
        assert words[base + CONSUMERS] == number + 1
    desk.do(declare.remove_consumer, queue, (1, 1, "t1"))
    assert words[base + CONSUMERS] == 2
    desk.do(declare.remove_session, 1)
    assert words[base + CONSUMERS] == 0


@pytest.fixture
def quick_changes() -> Iterator[None]:
    """Threads take turns far more often than each 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_readers_and_writers_in_threads(desk: Desk, quick_changes: None) -> None:
    desk.exchange("x", "topic")
    desk.queue("q")
    desk.bind("x", "q", "k")
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            desk.topology.sync()
            names = [queue.name for queue in desk.topology.route("x", "k").queues]
            if "q" not in names:
                wrong.append(names)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(150):
        desk.queue(f"q{number % 10}")
        desk.bind("x", f"q{number % 10}", "#" if number % 3 else "k")
        desk.do(declare.queue_delete, spec.Queue.Delete(queue=f"q{(number + 5) % 10}"))
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong

"""Exchange types that RabbitMQ has by plugins: the parts that a scenario cannot show."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import declare
from haypile.broker.errors import CommandInvalid, PreconditionFailed
from haypile.broker.exchanges.delayed import delay_of
from haypile.broker.exchanges.erlang_hash import exs1024, phash2
from haypile.broker.terms import TRUE, UNDEFINED, Atom, Term
from haypile.broker.topology import Topology

from .conftest import Desk

#: ``erlang:phash2`` of RabbitMQ 3.10.8's Erlang 25.
HASHES: list[tuple[Term, int]] = [
    (b"", 13708901),
    (b"a", 112802447),
    (b"abc", 98228475),
    (b"abcdefghijkl", 15432855),
    (b"abcdefghijklm", 11441572),
    (b"0123456789abcdefghijklmnopqrstuvwxyz", 91488717),
    (5, 5878562),
    (-5, 115015680),
    (123456789, 15946485),
    (12345678901234567890, 115983397),
    (UNDEFINED, 45914356),
    (TRUE, 506293),
    ((Atom("longstr"), b"a"), 65711459),
    ((Atom("signedint"), 7), 119448178),
    ((Atom("long"), 7), 77221078),
]


@pytest.mark.parametrize(("value", "expected"), HASHES)
def test_hashes_are_erlangs(value: Term, expected: int) -> None:
    assert phash2(value) == expected


def test_random_numbers_are_erlangs() -> None:
    numbers = exs1024(97)
    assert [next(numbers), next(numbers)] == [0.15176613794126814, 0.884936514437809]
    # All sixteen words of its state in turn, and over again.
    assert all(0 <= next(numbers) < 1 for _ in range(100))


def spread(topology: Topology) -> list[str]:
    """Where a hundred keys go."""
    return [topology.route("x", f"key {number}").queues[0].name for number in range(100)]


def test_every_process_hashes_alike(desk: Desk) -> None:
    desk.exchange("x", "x-consistent-hash")
    follower = Topology(desk.hay, "/")
    for number in range(20):
        desk.queue(f"q{number}")
        desk.bind("x", f"q{number}", str(number % 3 + 1))
        follower.sync()
    desk.unbind("x", "q7", "2")
    follower.sync()
    newcomer = Topology(desk.hay, "/")
    newcomer.sync()
    assert spread(desk.topology) == spread(follower) == spread(newcomer)
    assert len(set(spread(newcomer))) > 10


def test_hashing_a_property(desk: Desk) -> None:
    desk.exchange("x", "x-consistent-hash", arguments={"hash-property": "message_id"})
    for number in range(3):
        desk.queue(f"q{number}")
        desk.bind("x", f"q{number}", "10")

    def routed(properties: BasicProperties | None) -> str:
        return desk.topology.route("x", "k", None, (), properties).queues[0].name

    assert len({routed(BasicProperties(message_id=str(number))) for number in range(50)}) == 3
    assert routed(BasicProperties()) == routed(None)
    assert not desk.topology.route("x", "k").lasting


def test_random_takes_one(desk: Desk) -> None:
    desk.exchange("x", "x-random")
    for number in range(3):
        desk.queue(f"q{number}")
        desk.bind("x", f"q{number}")
    found = [desk.routed("x", "k") for _ in range(100)]
    assert {len(names) for names in found} == {1}
    assert {names[0] for names in found} == {"q0", "q1", "q2"}


def test_histories_are_named_in_the_route(desk: Desk) -> None:
    desk.exchange("x", "x-recent-history", arguments={"x-recent-history-length": 7})
    desk.exchange("y", "x-recent-history")
    desk.exchange("z", "fanout")
    desk.bind_exchange("z", "x")
    desk.bind_exchange("z", "y")
    route = desk.topology.route("z", "k")
    assert sorted(route.histories) == [("x", 7), ("y", 20)]


def test_delayed_messages_have_no_destination(desk: Desk) -> None:
    desk.exchange("x", "x-delayed-message", arguments={"x-delayed-type": "topic"})
    desk.queue("q")
    desk.bind("x", "q", "a.*")
    assert desk.routed("x", "a.b") == ["q"]
    route = desk.topology.route("x", "a.b", {"x-delay": 500})
    assert (route.queues, route.delays, route.lasting) == ((), (("x", 500),), False)
    for no_delay in (0, -500, 2**32, None, True):
        assert desk.routed("x", "a.b", {"x-delay": no_delay}) == ["q"]
    after = desk.topology.forward("x", "a.b", {"x-delay": -500})
    assert after is not None and [queue.name for queue in after.queues] == ["q"]


def test_a_delayed_exchange_binds_as_its_type_does(desk: Desk) -> None:
    desk.queue("q")
    desk.exchange("h", "x-delayed-message", arguments={"x-delayed-type": "headers"})
    bind = spec.Queue.Bind(queue="q", exchange="h", arguments={"x-match": "some"})
    with pytest.raises(PreconditionFailed):
        desk.do(declare.queue_bind, bind)
    desk.bind("h", "q", "", {"x-match": "all", "a": 1})
    assert desk.routed("h", "", {"a": 1}) == ["q"]
    assert desk.routed("h", "", {"a": 2}) == []


@pytest.mark.parametrize("kind", [None, 1, "x-delayed-message", b"x-delayed-message"])
def test_delayed_types_refused(desk: Desk, kind: object) -> None:
    arguments = {} if kind is None else {"x-delayed-type": kind}
    with pytest.raises(PreconditionFailed):
        desk.exchange("x", "x-delayed-message", arguments=arguments)


def test_delayed_types_unknown(desk: Desk) -> None:
    with pytest.raises(CommandInvalid):
        desk.exchange("x", "x-delayed-message", arguments={"x-delayed-type": "nope"})


def test_delays() -> None:
    assert [delay_of({"x-delay": value}) for value in (5, "5", Decimal("5.9"), None)] == [5, 5, 5, 0]
    assert delay_of(None) == 0

"""Routing: what each exchange type matches, and that cached routes follow the topology."""

from __future__ import annotations

from typing import Any

import pytest
from pika import spec

from haypile.broker import declare
from haypile.broker.errors import AccessRefused, NotFound
from haypile.broker.topology import Topology

from .conftest import Desk


def test_default_exchange_routes_by_queue_name(desk: Desk) -> None:
    assert desk.routed("", "a") == []
    desk.queue("a")
    assert desk.routed("", "a") == ["a"]
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="a"))
    assert desk.routed("", "a") == []


def test_a_queue_matched_twice_is_named_once(desk: Desk) -> None:
    desk.queue("a")
    for key in ("k", "l"):
        desk.bind("amq.direct", "a", key)
    desk.bind("amq.direct", "a", "k", {"x": 1})
    assert desk.routed("amq.direct", "k", None, "l") == ["a"]
    desk.unbind("amq.direct", "a", "k")
    assert desk.routed("amq.direct", "k") == ["a"]


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("*", "", False),
        ("", "", True),
        ("*", ".", False),
        ("*.*", ".", True),
        ("#.b", "b", True),
        ("#.b.#", "a.b.c", True),
        ("#.#", "", True),
        ("a.*.#", "a", False),
        ("#.*", "", False),
        ("#.*", "a", True),
        ("*.#.*", "a.b", True),
        ("*.#.*", "a", False),
        ("a", "#", False),
        ("#", "#", True),
        ("a*", "ab", False),
    ],
)
def test_topic_patterns(desk: Desk, pattern: str, key: str, matches: bool) -> None:
    desk.queue("q")
    desk.bind("amq.topic", "q", pattern)
    assert desk.routed("amq.topic", key) == (["q"] if matches else [])
    desk.unbind("amq.topic", "q", pattern)
    assert desk.routed("amq.topic", key) == []


def test_many_hashes_cost_little(desk: Desk) -> None:
    desk.queue("q")
    desk.bind("amq.topic", "q", ".".join(["#", "a"] * 12))
    assert desk.routed("amq.topic", ".".join(["a"] * 40 + ["b"])) == []


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({}, None, True),
        ({"x-match": "all"}, {}, True),
        ({"x-match": "any"}, {}, False),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 2}, True),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "y"}, False),
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {"b": 1}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": "x"}, {"a": b"x"}, True),
        ({"x-a": 1}, {}, True),
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 1}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"x-match": "any", "x-a": 1, "b": 2}, {"x-a": 1}, False),
        ({"a": {"n": 1}}, {"a": {"n": 1}}, True),
        ({"a": [1, "x"]}, {"a": [1, "x"]}, True),
        ({"a": [1, "x"]}, {"a": ["x", 1]}, False),
    ],
)
def test_headers(desk: Desk, arguments: dict[str, Any], headers: dict[str, Any] | None, matches: bool) -> None:
    desk.queue("q")
    desk.bind("amq.headers", "q", "", arguments)
    assert desk.routed("amq.headers", "", headers) == (["q"] if matches else [])
    desk.unbind("amq.headers", "q", "", arguments)
    assert desk.routed("amq.headers", "", headers) == []


def test_exchanges_bound_in_a_circle(desk: Desk) -> None:
    for name in ("x", "y"):
        desk.exchange(name, "fanout")
        desk.queue(name)
        desk.bind(name, name)
    desk.bind_exchange("x", "y")
    desk.bind_exchange("y", "x")
    assert desk.routed("x") == desk.routed("y") == ["x", "y"]


def test_alternate_exchange_takes_what_has_no_destination(desk: Desk) -> None:
    desk.exchange("main", "direct", arguments={"alternate-exchange": "rest"})
    desk.queue("a")
    desk.queue("b")
    assert desk.routed("main", "k") == []
    desk.exchange("rest", "fanout")
    desk.bind("rest", "b")
    assert desk.routed("main", "k") == ["b"]
    desk.bind("main", "a", "k")
    assert desk.routed("main", "k") == ["a"]
    assert desk.routed("main", "k", None, "other") == ["a"]


def test_a_route_through_other_exchanges_follows_them(desk: Desk) -> None:
    desk.exchange("x", "topic")
    desk.exchange("y", "direct")
    desk.queue("q")
    desk.bind_exchange("x", "y", "#")
    assert desk.routed("x", "k") == []
    desk.bind("y", "q", "k")
    assert desk.routed("x", "k") == ["q"]
    desk.do(declare.exchange_delete, spec.Exchange.Delete(exchange="y"))
    assert desk.routed("x", "k") == []


def test_unconcerned_routes_stay(desk: Desk) -> None:
    desk.queue("a")
    desk.bind("amq.direct", "a", "a")
    route = desk.topology.route("amq.direct", "a")
    epoch = desk.topology.epoch
    for number in range(10):
        desk.queue(f"q{number}")
        desk.bind("amq.direct", f"q{number}", f"k{number}")
        desk.exchange(f"x{number}")
    assert desk.topology.epoch == epoch
    assert desk.topology.route("amq.direct", "a") is route
    desk.bind("amq.direct", "q0", "a")
    assert desk.topology.epoch > epoch


def test_only_routes_decided_by_the_key_last(desk: Desk) -> None:
    desk.exchange("x", "fanout")
    assert desk.topology.route("x", "").lasting
    desk.bind_exchange("x", "amq.headers")
    assert not desk.topology.route("x", "").lasting
    assert not desk.topology.route("amq.direct", "a", None, ("b",)).lasting


def test_publishing_where_one_may_not(desk: Desk) -> None:
    with pytest.raises(NotFound) as missing:
        desk.topology.route("nowhere", "")
    assert missing.value.reply_text == "NOT_FOUND - no exchange 'nowhere' in vhost '/'"
    desk.exchange("inside", "fanout", internal=True)
    with pytest.raises(AccessRefused) as refused:
        desk.topology.route("inside", "")
    text = "ACCESS_REFUSED - cannot publish to internal exchange 'inside' in vhost '/'"
    assert refused.value.reply_text == text
    assert desk.topology.forward("nowhere", "") is None
    assert desk.topology.forward("inside", "") is not None


def test_another_process_follows(desk: Desk) -> None:
    other = Topology(desk.hay, "/")
    desk.queue("a")
    desk.bind("amq.fanout", "a")
    gone = other.sync()
    assert gone == []
    queue = other.queues["a"]
    assert [one.name for one in other.route("amq.fanout", "").queues] == ["a"]
    desk.do(declare.queue_delete, spec.Queue.Delete(queue="a"))
    desk.queue("a")
    assert other.sync() == [queue]
    assert queue.deleted and other.queues["a"] is not queue
    assert other.route("amq.fanout", "").queues == ()

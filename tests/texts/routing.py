"""Scenarios for routing: a mandatory message comes back exactly when nothing matched."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from pika import spec
from pika.compat import long
from pika.spec import BasicProperties

Step = tuple[Any, ...]
Q = spec.Queue

PATTERNS = (
    "",
    "#",
    "*",
    "a",
    "a.b",
    "a.*",
    "a.#",
    "*.b",
    "#.b",
    "#.b.#",
    "*.*",
    "#.*",
    "*.#",
    "#.#",
    "a..b",
    "a*",
)
KEYS = ("", ".", "a", "b", "a.b", "a.b.c", "b.b", "a..b", "#", "*", "a.#", ".b", "a.", "ab", "x.y.z.b")

WHEN = datetime(2020, 1, 1, tzinfo=timezone.utc)
#: Values that may or may not be equal to one another.
VALUES: tuple[Any, ...] = (
    1,
    long(1),
    "1",
    b"1",
    True,
    False,
    None,
    Decimal("1"),
    Decimal("1.0"),
    Decimal("1.5"),
    WHEN,
    1577836800,
    "undefined",
    "true",
    {"a": 1},
    {"a": long(1)},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    [1, 2],
    [2, 1],
    [],
    {},
)
#: Bindings' arguments, and headers.
TABLES: tuple[tuple[dict[str, Any], tuple[dict[str, Any] | None, ...]], ...] = (
    ({}, (None, {}, {"a": 1})),
    ({"x-match": "all"}, (None, {"a": 1})),
    ({"x-match": "any"}, (None, {"a": 1})),
    ({"x-match": "any-with-x"}, ({"x-match": "any-with-x"},)),
    (
        {"x-match": "all", "a": 1, "b": 2},
        (None, {"a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1, "c": 3}, {"a": 2, "b": 2}),
    ),
    ({"x-match": "any", "a": 1, "b": 2}, (None, {"a": 1}, {"b": 2, "c": 1}, {"a": 2, "b": 1}, {"c": 1})),
    ({"x-match": "all", "x-a": 1}, (None, {"x-a": 2}, {"x-a": 1})),
    ({"x-match": "any", "x-a": 1}, ({"x-a": 1},)),
    ({"x-match": "any", "x-a": 1, "b": 1}, ({"x-a": 1}, {"b": 1})),
    ({"x-match": "all-with-x", "x-a": 1, "b": 1}, ({"x-a": 1}, {"b": 1}, {"x-a": 1, "b": 1})),
    ({"x-match": "any-with-x", "x-a": 1, "b": 1}, ({"x-a": 1}, {"b": 1}, {"x-a": 2})),
    ({"x-match": "all", "a": None, "b": 1}, ({"b": 1}, {"a": 7, "b": 1}, {"a": None, "b": 1})),
    ({"x-match": "any", "a": None}, ({"b": 1}, {"a": 7}, {"a": None})),
    ({"": 1}, ({"": 1}, {})),
)


def asked(exchange: str, key: str = "", headers: dict[str, Any] | None = None) -> Step:
    """A mandatory publish."""
    method = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)
    return (0, method, BasicProperties(headers=headers), b"")


def topics() -> list[Step]:
    """Every key against every pattern."""
    steps: list[Step] = [(0, Q.Declare(queue="q"))]
    for pattern in PATTERNS:
        steps.append((0, Q.Bind(queue="q", exchange="amq.topic", routing_key=pattern)))
        steps += [asked("amq.topic", key) for key in KEYS]
        steps.append((0, Q.Unbind(queue="q", exchange="amq.topic", routing_key=pattern)))
    return steps


def headers() -> list[Step]:
    """Tables, and every value against every other."""
    tables = list(TABLES)
    tables += [({"a": value}, tuple({"a": other} for other in VALUES)) for value in VALUES]
    steps: list[Step] = [(0, Q.Declare(queue="q"))]
    for arguments, messages in tables:
        steps.append((0, Q.Bind(queue="q", exchange="amq.headers", arguments=arguments)))
        steps += [asked("amq.headers", headers=message) for message in messages]
        steps.append((0, Q.Unbind(queue="q", exchange="amq.headers", arguments=arguments)))
    return steps


def bindings() -> list[Step]:
    """Which bindings are the same one: unbinding takes out only that."""
    first = {"a": 1, "b": "x"}
    steps: list[Step] = [(0, Q.Declare(queue="q"))]
    for other in ({"b": "x", "a": 1}, {"a": long(1), "b": "x"}, {"a": 1, "b": b"x"}, {"a": 1}, {}, first):
        steps += [
            (0, Q.Bind(queue="q", exchange="amq.direct", routing_key="k", arguments=first)),
            (0, Q.Unbind(queue="q", exchange="amq.direct", routing_key="k", arguments=other)),
            asked("amq.direct", "k"),
        ]
    return steps


def alternates() -> list[Step]:
    """Alternate exchanges, circles, missing ones, the default one, CC."""
    declare, bind = spec.Exchange.Declare, spec.Exchange.Bind
    steps: list[Step] = [
        (0, Q.Declare(queue="q")),
        (0, declare(exchange="main", type="direct", arguments={"alternate-exchange": "rest"})),
        asked("main", "k"),
        (0, declare(exchange="rest", type="fanout", internal=True)),
        asked("main", "k"),
        (0, Q.Bind(queue="q", exchange="rest")),
        asked("main", "k"),
        (0, bind(destination="empty", source="main", routing_key="k")),
        (0, declare(exchange="empty", type="fanout")),
        (0, bind(destination="empty", source="main", routing_key="k")),
        asked("main", "k"),
        asked("main", "other", {"CC": ["k"]}),
        asked("main", "k", {"CC": ["other"]}),
        asked("main", "other", {"BCC": ["other too"]}),
        (0, declare(exchange="plain", type="direct", arguments={"alternate-exchange": ""})),
        asked("plain", "q"),
        (0, declare(exchange="one", type="direct", arguments={"alternate-exchange": "two"})),
        (0, declare(exchange="two", type="direct", arguments={"alternate-exchange": "one"})),
        asked("one", "k"),
        (0, Q.Bind(queue="q", exchange="two", routing_key="k")),
        asked("one", "k"),
        (0, declare(exchange="self", type="direct", arguments={"alternate-exchange": "self"})),
        asked("self", "k"),
        (0, declare(exchange="circle", type="fanout")),
        (0, bind(destination="circle", source="circle")),
        asked("circle", "k"),
        (0, bind(destination="main", source="circle")),
        asked("circle", "k"),
        asked("circle", "nothing"),
        asked("", "missing", {"CC": ["q"]}),
        asked("", "missing", {"BCC": ["q"]}),
    ]
    return steps


ROUTING: dict[str, list[Step]] = {
    "topic patterns": topics(),
    "header values": headers(),
    "same bindings": bindings(),
    "alternate exchanges": alternates(),
}

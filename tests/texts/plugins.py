"""Scenarios for the exchange types RabbitMQ has by plugins that come with it.

Where messages went is read off the counts of the queues.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from pika import spec
from pika.compat import long
from pika.spec import BasicProperties

from tests.texts.steps import P, Q, Step, X

HASH, HISTORY, RANDOM = "x-consistent-hash", "x-recent-history", "x-random"
QUEUES = ("q1", "q2", "q3")
VALUES = ("a", "b", b"a", 1, 2, long(1), -1, 2**40, True, False, None, Decimal("1.5"), "", "text that is longer")
WHEN = [datetime.fromtimestamp(at, timezone.utc) for at in (0, 1, 99, 1_577_836_800)]


def publish(key: str, properties: BasicProperties | None = None) -> Step:
    """A message for the exchange under test."""
    return (0, spec.Basic.Publish(exchange="x", routing_key=key), properties or P(), b"")


def counted(messages: list[Step]) -> list[Step]:
    """Each message, and the counts after it."""
    counts = [(0, Q.Declare(queue=queue, passive=True)) for queue in QUEUES]
    return [step for message in messages for step in (message, *counts)]


def hashing(arguments: dict[str, Any] | None, messages: list[Step], weights: str = "123") -> list[Step]:
    """Three queues with weights, and where the messages go."""
    steps: list[Step] = [(0, X.Declare(exchange="x", type=HASH, arguments=arguments))]
    for queue, weight in zip(QUEUES, weights, strict=True):
        steps.append((0, Q.Declare(queue=queue)))
        steps.append((0, Q.Bind(queue=queue, exchange="x", routing_key=weight)))
    return steps + counted(messages)


def declared(kind: str, arguments: dict[str, Any]) -> list[Step]:
    """Declare and delete."""
    return [(0, X.Declare(exchange="x", type=kind, arguments=arguments)), (0, X.Delete(exchange="x"))]


PLUGINS: dict[str, list[Step]] = {
    "consistent hash arguments": [
        *declared(HASH, {"hash-header": "h"}),
        *declared(HASH, {"hash-header": 1}),
        *declared(HASH, {"hash-property": "message_id"}),
        *declared(HASH, {"hash-property": "nope"}),
        *declared(HASH, {"hash-property": b"message_id"}),
        *declared(HASH, {"hash-header": "h", "hash-property": "nope"}),
        *declared(HASH, {"alternate-exchange": 1, "hash-property": "nope"}),
        (0, X.Declare(exchange="x", type=HASH)),
        (0, X.Declare(exchange="x", type=HASH, arguments={"hash-header": "z"})),
        (0, Q.Declare(queue="q1")),
        *[
            (0, Q.Bind(queue="q1", exchange="x", routing_key=key))
            for key in ("", "1", "0", "-1", "+5", " 5", "5 ", "1.0", "abc", "é", 'a"b')
        ],
    ],
    "consistent hash by routing key": [
        *hashing(None, [publish(f"key {number}") for number in range(25)]),
        (0, Q.Unbind(queue="q2", exchange="x", routing_key="2")),
        *counted([publish(f"key {number}") for number in range(10)]),
        (0, Q.Bind(queue="q2", exchange="x", routing_key="7")),
        *counted([publish(f"key {number}") for number in range(10)]),
        *counted([publish("key 1", P(headers={"CC": ["key 2"]})), publish("")]),
    ],
    "consistent hash by header": hashing(
        {"hash-header": "h"},
        [publish("k", P(headers={"h": value})) for value in VALUES]
        + [publish("k", P(headers=headers)) for headers in ({}, {"i": 1}, None)],
    ),
    "consistent hash by message_id": hashing(
        {"hash-property": "message_id"},
        [publish("k", P(message_id=f"id {number}")) for number in range(10)] + [publish("k")],
    ),
    "consistent hash by correlation_id": hashing(
        {"hash-property": "correlation_id"},
        [publish("k", P(correlation_id=f"id {number}")) for number in range(10)] + [publish("k")],
    ),
    "consistent hash by timestamp": hashing(
        {"hash-property": "timestamp"},
        [publish("k", P(timestamp=int(when.timestamp()))) for when in WHEN] + [publish("k")],
    ),
    "consistent hash without queues": [
        (0, X.Declare(exchange="x", type=HASH)),
        (0, spec.Basic.Publish(exchange="x", routing_key="k", mandatory=True), P(), b""),
    ],
    "random": [
        *declared(RANDOM, {"anything": 1}),
        (0, X.Declare(exchange="x", type=RANDOM)),
        (0, spec.Basic.Publish(exchange="x", routing_key="k", mandatory=True), P(), b""),
        *[(0, Q.Declare(queue=queue)) for queue in QUEUES],
        (0, Q.Bind(queue="q2", exchange="x", routing_key="other")),
        *counted([publish("k")]),
    ],
    "recent history arguments": [
        step
        for value in (5, 0, -1, "5", True, None, long(3))
        for step in declared(HISTORY, {f"{HISTORY}-length": value})
    ],
    "recent history": [
        (0, X.Declare(exchange="x", type=HISTORY, arguments={f"{HISTORY}-length": 3})),
        *[(0, Q.Declare(queue=queue)) for queue in QUEUES],
        (0, Q.Bind(queue="q1", exchange="x")),
        *counted([publish(f"{number}") for number in range(5)]),
    ],
}

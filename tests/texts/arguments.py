"""Scenarios for queue arguments: every value for every argument, and which redeclarations differ."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from pika import spec
from pika.compat import long

Step = tuple[Any, ...]
Arguments = dict[str, Any]

TIMES = (0, 1, -1, 315_360_000_000, 315_360_000_001)
NUMBERS = (0, 1, -1, 2**31, 2**63 - 1)
WORDS = ("", "nope")
WHEN = datetime(2020, 1, 1, tzinfo=timezone.utc)
#: One value of every type pika can send.
TYPES = (
    "text",
    b"octets",
    True,
    1,
    long(1),
    Decimal("1.5"),
    WHEN,
    {"a": 1},
    ["a"],
    None,
)

VALUES: dict[str, tuple[Any, ...]] = {
    "x-expires": TIMES,
    "x-message-ttl": TIMES,
    "x-dead-letter-exchange": WORDS,
    "x-dead-letter-routing-key": WORDS,
    "x-dead-letter-strategy": ("at-most-once", "at-least-once", *WORDS),
    "x-max-length": NUMBERS,
    "x-max-length-bytes": NUMBERS,
    "x-max-in-memory-length": NUMBERS,
    "x-max-in-memory-bytes": NUMBERS,
    "x-max-priority": (0, 1, 255, 256, -1),
    "x-overflow": ("drop-head", "reject-publish", "reject-publish-dlx", *WORDS),
    "x-queue-mode": ("default", "lazy", *WORDS),
    "x-queue-version": (0, 1, 2, 3, -1),
    "x-single-active-consumer": (False,),
    "x-queue-type": ("classic", "quorum", *WORDS),
    "x-quorum-initial-group-size": (0, 1, -1),
    "x-max-age": ("1D", "0D", "1", "1x", "D", "1Dm"),
    "x-stream-max-segment-size-bytes": NUMBERS,
    "x-initial-cluster-size": (0, 1, -1),
    "x-queue-leader-locator": ("client-local", "balanced", *WORDS),
    "x-delivery-limit": (0, 1, -1),
    "x-queue-master-locator": ("min-masters", "client-local", "random", *WORDS),
    "x-unknown": (1,),
    "unknown": (1,),
}
#: Values on which a RabbitMQ process dies slowly: the reply takes longer than we wait.
DEADLY = {
    "x-queue-master-locator": (
        Decimal("1.5"),
        {"a": 1},
        ["a"],
        None,
        WHEN,
    ),
    "x-delivery-limit": (*(value for value in TYPES if value != 1), -1),
}


def tried(name: str, value: Any, kind: str | None) -> list[Step]:
    """Declare a new queue with one argument; delete it."""
    arguments = {name: value} if kind is None else {name: value, "x-queue-type": kind}
    declare = spec.Queue.Declare(queue="q", durable=True, arguments=arguments)
    return [(0, declare), (0, spec.Queue.Delete(queue="q"))]


def of_argument(name: str) -> list[Step]:
    """Every value of an argument on a classic and on a quorum queue."""
    steps: list[Step] = []
    for kind in (None, "quorum"):
        if kind and name == "x-queue-type":
            continue
        values = [*VALUES[name], *TYPES]
        if kind:
            # A quorum queue takes RabbitMQ long to make, and the types were tried.
            values = list(VALUES[name])
        for value in values:
            if not any(value is deadly or value == deadly for deadly in DEADLY.get(name, ())):
                steps += tried(name, value, kind)
    return steps


ARGUMENTS: dict[str, list[Step]] = {
    **{name: of_argument(name) for name in VALUES},
    "order": [
        (0, spec.Queue.Declare(queue="q", arguments=arguments))
        for arguments in (
            {"x-max-length": -1, "x-expires": -1, "x-dead-letter-exchange": 1},
            {"x-max-length": -1, "x-expires": -1},
            {"x-delivery-limit": 1, "x-max-length": -1},
            {"x-max-age": "1D", "x-delivery-limit": 1},
            {"x-delivery-limit": 1, "x-max-age": "1D"},
            {"x-dead-letter-routing-key": "k"},
            {"x-dead-letter-routing-key": 1},
            {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k"},
        )
    ],
}


def again(name: str, pairs: list[tuple[Arguments, Arguments]]) -> list[Step]:
    """Declare with the first, again with the second, delete."""
    steps: list[Step] = []
    for first, second in pairs:
        steps.append((0, spec.Queue.Declare(queue="q", arguments=first)))
        steps.append((0, spec.Queue.Declare(queue="q", arguments=second)))
        steps.append((0, spec.Queue.Delete(queue="q")))
    return steps


EQUIVALENCE: dict[str, list[Step]] = {
    "numbers": again(
        "numbers",
        [
            ({"x-max-length": 1}, {"x-max-length": 1}),
            ({"x-max-length": 1}, {"x-max-length": long(1)}),
            ({"x-max-length": 1}, {"x-max-length": 2}),
            ({"x-max-length": 1}, {"x-max-length": "1"}),
            ({"x-max-length": 1}, {"x-max-length": True}),
            ({"x-max-length": 1}, {"x-max-length": Decimal("1.5")}),
            ({"x-max-length": 1}, {"x-max-length": datetime.fromtimestamp(1, timezone.utc)}),
            ({"x-max-length": 1}, {"x-max-length": datetime.fromtimestamp(2, timezone.utc)}),
            ({"x-max-length": 1}, {"x-max-length": None}),
            ({"x-max-length": 1}, {"x-max-length": {"a": 1, "b": "c"}}),
            ({"x-max-length": 1}, {"x-max-length": [1, "c", {}, []]}),
            ({"x-max-length": 1}, {}),
            ({}, {"x-max-length": 1}),
            ({}, {"x-max-length": long(1)}),
            ({}, {"x-max-length": "text"}),
            ({}, {"x-max-length": b"octets"}),
            ({}, {"x-max-length": b"\x00\xff"}),
            ({}, {"x-max-length": None}),
            ({}, {"x-max-length": False}),
            ({}, {"x-max-length": Decimal("-12.75")}),
            ({}, {"x-max-length": {"a": b"\x00\x01", "b": 'say "x"'}}),
            ({}, {"x-max-length": ["a", 1, True, None]}),
        ],
    ),
    "texts": again(
        "texts",
        [
            ({"x-overflow": "drop-head"}, {"x-overflow": "drop-head"}),
            ({"x-overflow": "drop-head"}, {"x-overflow": b"drop-head"}),
            ({"x-overflow": "drop-head"}, {"x-overflow": "reject-publish"}),
            ({"x-overflow": "drop-head"}, {"x-overflow": 1}),
            ({"x-overflow": "drop-head"}, {}),
            ({"x-single-active-consumer": True}, {"x-single-active-consumer": False}),
            ({"x-single-active-consumer": True}, {"x-single-active-consumer": "true"}),
            ({"x-queue-mode": "lazy"}, {}),
            ({"x-queue-type": "classic"}, {}),
            ({}, {"x-queue-type": "classic"}),
            ({}, {"x-queue-type": "quorum"}),
            ({}, {"x-queue-type": "nope"}),
            ({}, {"x-queue-type": 1}),
            ({"x-queue-type": "classic"}, {"x-queue-type": "quorum"}),
            ({"x-dead-letter-exchange": "☃"}, {"x-dead-letter-exchange": "ü"}),
            ({"x-expires": 99000, "x-max-length": 1}, {"x-expires": 98000, "x-max-length": 2}),
            ({"x-message-ttl": 1, "x-expires": 99000}, {"x-message-ttl": 2, "x-expires": 98000}),
        ],
    ),
    "what RabbitMQ does not compare": again(
        "other",
        [
            ({"x-unknown": 1}, {"x-unknown": 2}),
            ({"x-queue-master-locator": "random"}, {"x-queue-master-locator": "min-masters"}),
            ({}, {"x-delivery-limit": 5}),
            ({}, {"x-max-age": "1D"}),
        ],
    ),
}

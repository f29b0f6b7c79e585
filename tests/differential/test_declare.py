"""Random declarations, bindings, deletions and consumers, through a RabbitMQ and through haypile.

Two connections each; after every method what came back must be the same.
"""

from __future__ import annotations

import gc
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.compat import long
from pika.spec import BasicProperties

from tests.differential.local import Local
from tests.differential.oracle import Oracle
from tests.support.rabbitmq import Broker
from tests.texts.running import plain

STEPS = 300
#: Seconds after which a message published through a RabbitMQ is in its queues and with its consumers.
SETTLED = 0.004

QUEUES = ("q1", "q2", "q3", "", "amq.x", "q\n1")
EXCHANGES = ("x1", "x2", "x3", "", "amq.direct", "amq.topic", "amq.y", "amq.fanout", "amq.headers", "missing")
TYPES = ("direct", "fanout", "topic", "headers", "nope", "topic", "direct")
KEYS = ("", "k", "a.*", "#", "k2")
TAGS = ("t1", "t2")
Pairs = tuple[tuple[str, Any], ...]
QUEUE_ARGUMENTS: Pairs = (
    *(("x-expires", value) for value in (60000, 50000, True)),
    *(("x-max-length", value) for value in (10, 20, long(10), "10")),
    ("x-queue-type", "classic"),
    ("x-queue-type", "quorum"),
    *(("x-dead-letter-exchange", value) for value in ("x1", "x2", 1)),
    ("x-dead-letter-routing-key", "k"),
    ("x-single-active-consumer", True),
    ("x-single-active-consumer", False),
    ("x-max-priority", 5),
    ("x-overflow", "drop-head"),
    ("foo", "bar"),
    ("x-delivery-limit", 3),
)
EXCHANGE_ARGUMENTS: Pairs = (
    *(("alternate-exchange", value) for value in ("x1", "x2", 1)),
    ("foo", b"bar"),
)
BINDING_ARGUMENTS: Pairs = (
    *(("x-match", value) for value in ("all", "any", "nope", 1)),
    *(("a", value) for value in (1, "1")),
    ("b", None),
    ("c", [1, "x"]),
    ("c", {"n": 1}),
)
CONSUMER_ARGUMENTS: Pairs = (("x-priority", 1), ("x-priority", "a"), ("x-stream-offset", "first"), ("foo", 1))
HEADERS: Pairs = (("a", 1), ("a", "1"), ("b", 2), ("c", [1, "x"]))


class Chooser:
    """Makes methods up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.makers = (
            (22, self.declare_queue),
            (14, self.declare_exchange),
            (14, self.bind_queue),
            (8, self.unbind_queue),
            (8, self.bind_exchange),
            (5, self.unbind_exchange),
            (5, self.delete_queue),
            (4, self.delete_exchange),
            (3, lambda: spec.Queue.Purge(queue=self.one(QUEUES))),
            (7, self.consume),
            (3, lambda: spec.Basic.Cancel(consumer_tag=self.one(TAGS))),
            (7, self.publish),
        )

    def one(self, values: tuple[Any, ...]) -> Any:
        """One of ``values``."""
        return self.random.choice(values)

    def maybe(self, chance: float = 0.3) -> bool:
        """True now and then."""
        return self.random.random() < chance

    def table(self, pairs: Pairs) -> dict[str, Any]:
        """A few arguments, or none."""
        return dict(self.random.sample(pairs, self.one((0, 0, 0, 1, 2))))

    def method(self) -> Any:
        """Any method."""
        makers = [maker for _, maker in self.makers]
        return self.random.choices(makers, [weight for weight, _ in self.makers])[0]()

    def declare_queue(self) -> Any:
        """queue.declare."""
        return spec.Queue.Declare(
            queue=self.one(QUEUES),
            passive=self.maybe(0.15),
            durable=self.maybe(),
            exclusive=self.maybe(0.25),
            auto_delete=self.maybe(0.25),
            arguments=self.table(QUEUE_ARGUMENTS),
        )

    def declare_exchange(self) -> Any:
        """exchange.declare."""
        return spec.Exchange.Declare(
            exchange=self.one(EXCHANGES),
            type=self.one(TYPES) if self.maybe(0.4) else "fanout",
            passive=self.maybe(0.1),
            durable=self.maybe(),
            auto_delete=self.maybe(0.4),
            internal=self.maybe(0.1),
            nowait=self.maybe(0.05),
            arguments=self.table(EXCHANGE_ARGUMENTS),
        )

    def binding(self) -> dict[str, Any]:
        """What bindings have in common."""
        return {"routing_key": self.one(KEYS), "arguments": self.table(BINDING_ARGUMENTS)}

    def bind_queue(self) -> Any:
        """queue.bind."""
        return spec.Queue.Bind(queue=self.one(QUEUES), exchange=self.one(EXCHANGES), **self.binding())

    def unbind_queue(self) -> Any:
        """queue.unbind."""
        return spec.Queue.Unbind(queue=self.one(QUEUES), exchange=self.one(EXCHANGES), **self.binding())

    def bind_exchange(self) -> Any:
        """exchange.bind."""
        return spec.Exchange.Bind(destination=self.one(EXCHANGES), source=self.one(EXCHANGES), **self.binding())

    def unbind_exchange(self) -> Any:
        """exchange.unbind."""
        return spec.Exchange.Unbind(destination=self.one(EXCHANGES), source=self.one(EXCHANGES), **self.binding())

    def delete_queue(self) -> Any:
        """queue.delete."""
        return spec.Queue.Delete(queue=self.one(QUEUES), if_unused=self.maybe(), if_empty=self.maybe())

    def delete_exchange(self) -> Any:
        """exchange.delete."""
        return spec.Exchange.Delete(exchange=self.one(EXCHANGES), if_unused=self.maybe())

    def consume(self) -> Any:
        """basic.consume, without acknowledgements."""
        return spec.Basic.Consume(
            queue=self.one(QUEUES),
            consumer_tag=self.one(TAGS),
            exclusive=self.maybe(0.2),
            no_ack=True,
            arguments=self.table(CONSUMER_ARGUMENTS),
        )

    def publish(self) -> Any:
        """basic.publish."""
        return spec.Basic.Publish(
            exchange=self.one(EXCHANGES), routing_key=self.one(KEYS + QUEUES), mandatory=self.maybe()
        )


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory in memory."""
    directory = Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)
    # The gate page stays mapped until the sessions, which know themselves, are collected.
    gc.collect()


@pytest.mark.parametrize("seed", range(2))
def test_random_methods(seed: int, rabbitmq_followed: Broker, place: Path) -> None:
    chooser = Chooser(seed)
    vhost = rabbitmq_followed.fresh_vhost()
    url = rabbitmq_followed.vhost_url(vhost)
    theirs = [Oracle.at(url), Oracle.at(url)]
    ours = [Local(place / "vhost", vhost), Local(place / "vhost", vhost)]
    for number in range(STEPS):
        method, at = chooser.method(), chooser.random.randrange(2)
        call: tuple[Any, ...] = (method,)
        if isinstance(method, spec.Basic.Publish):
            call = (method, BasicProperties(headers=chooser.table(HEADERS)), b"x")
        expected = plain(theirs[at].call(*call), vhost)
        if isinstance(method, (spec.Basic.Publish, spec.Basic.Consume)):
            time.sleep(SETTLED)
        got = plain(ours[at].call(*call), vhost)
        for one in ours:
            one.turn()
        assert got == expected, f"step {number} on connection {at}: {method}"
    for oracle in theirs:
        oracle.close()
    for one in ours:
        one.close()

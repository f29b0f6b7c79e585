"""Exchange types, one module each, and the table of them."""

from __future__ import annotations

from haypile.broker.exchanges.base import Router, RouterType
from haypile.broker.exchanges.consistent_hash import ConsistentHash
from haypile.broker.exchanges.delayed import Delayed
from haypile.broker.exchanges.direct import Direct
from haypile.broker.exchanges.fanout import Fanout
from haypile.broker.exchanges.headers import HeadersExchange
from haypile.broker.exchanges.random import Random
from haypile.broker.exchanges.recent_history import RecentHistory
from haypile.broker.exchanges.topic import Topic

#: Every exchange type by its name.
TYPES: dict[str, RouterType] = {
    router.type: router
    for router in (
        Direct,
        Fanout,
        Topic,
        HeadersExchange,
        # RabbitMQ has these by plugins.
        ConsistentHash,
        Random,
        RecentHistory,
        Delayed,
    )
}
Delayed.types = TYPES

#: Exchanges every vhost has: name, type, internal. All are durable.
PREDECLARED = (
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.topic", "topic", False),
    ("amq.rabbitmq.trace", "topic", True),
)

__all__ = ["PREDECLARED", "TYPES", "Router"]

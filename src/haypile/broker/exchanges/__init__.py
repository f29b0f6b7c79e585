"""Exchange types, one module each, and the table of them."""

from __future__ import annotations

from haypile.broker.exchanges.base import Router
from haypile.broker.exchanges.direct import Direct
from haypile.broker.exchanges.fanout import Fanout
from haypile.broker.exchanges.headers import HeadersExchange
from haypile.broker.exchanges.topic import Topic

#: Every exchange type by its name.
TYPES: dict[str, type[Router]] = {router.type: router for router in (Direct, Fanout, Topic, HeadersExchange)}

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

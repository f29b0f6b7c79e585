"""Declaring and deleting: exchange.*, queue.*, and consumers as rows.

Every function here takes a ``Context`` and runs inside a write transaction after
``topology.sync(txn)``; it checks before it writes, so a refused method changes nothing.
"""

from __future__ import annotations

from haypile.broker.declare.binding import (
    check_access,
    exchange_bind,
    exchange_unbind,
    last_queue,
    queue_bind,
    queue_unbind,
)
from haypile.broker.declare.consumers import add_consumer, remove_consumer, remove_session
from haypile.broker.declare.context import Context
from haypile.broker.declare.exchange import exchange_declare, exchange_delete
from haypile.broker.declare.queue import (
    delete_queue,
    lookup,
    queue_declare,
    queue_delete,
    queue_purge,
    server_name,
    set_lane,
)

__all__ = [
    "Context",
    "add_consumer",
    "check_access",
    "delete_queue",
    "exchange_bind",
    "exchange_declare",
    "exchange_delete",
    "exchange_unbind",
    "last_queue",
    "lookup",
    "queue_bind",
    "queue_declare",
    "queue_delete",
    "queue_purge",
    "queue_unbind",
    "remove_consumer",
    "remove_session",
    "server_name",
    "set_lane",
]

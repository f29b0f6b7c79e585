"""Exchanges, queues and routes as the topology caches them.

Owns: the shape of these objects.
Must not know: when they change (``topology``), how routes are found (``routing``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from haypile.broker.arguments import QueueArguments
from haypile.broker.exchanges import TYPES, Router
from haypile.broker.policies import Definition, merge
from haypile.broker.rows import Binding, ConsumerKey, ConsumerRow, ExchangeRow, LaneRow, QueueRow


class Exchange:
    """An exchange and the bindings it is the source of."""

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "durable",
        "internal",
        "name",
        "router",
        "type",
    )

    def __init__(self, name: str, row: ExchangeRow) -> None:
        self.name = name
        self.type = row.type
        self.durable = row.durable
        self.auto_delete = row.auto_delete
        self.internal = row.internal
        self.arguments = row.arguments
        #: Where messages go that this exchange has no destination for.
        self.alternate: str | None = None
        self.apply({})
        self.router: Router = TYPES[row.type](row.arguments)
        #: By id, in the order they came.
        self.bindings: dict[bytes, Binding] = {}

    def apply(self, definition: Definition) -> bool:
        """Follow policies; whether that changed anything."""
        alternate = self.arguments.get("alternate-exchange", definition.get("alternate-exchange"))
        before, self.alternate = self.alternate, alternate if isinstance(alternate, str) else None
        return self.alternate != before


class Queue:
    """A queue, as its rows describe it."""

    __slots__ = (
        "active",
        "args",
        "arguments",
        "auto_delete",
        "consumers",
        "deleted",
        "durable",
        "exclusive_owner",
        "id",
        "lane",
        "max_priority",
        "name",
        "port",
        "slot",
    )

    def __init__(self, name: str, row: QueueRow) -> None:
        self.id = row.id
        self.name = name
        #: Its slot in the gate page.
        self.slot = row.slot
        self.durable = row.durable
        self.auto_delete = row.auto_delete
        #: Session it is exclusive to; 0: none.
        self.exclusive_owner = row.owner
        #: As declared.
        self.arguments = row.arguments
        #: As they were meant, with what policies say.
        self.args = QueueArguments.parse(row.arguments)
        #: ``args.max_priority``, which every publish looks at.
        self.max_priority = self.args.max_priority
        self.lane: LaneRow | None = None
        #: In the order they came. Replaced, never changed, so any thread may iterate over it.
        self.consumers: dict[ConsumerKey, ConsumerRow] = {}
        #: Key of the one that receives, with x-single-active-consumer.
        self.active: ConsumerKey | None = None
        self.deleted = False
        #: Free for the broker's use in this process.
        self.port: Any = None

    def apply(self, definition: Definition) -> bool:
        """Follow policies; whether that changed anything."""
        before, self.args = self.args, merge(QueueArguments.parse(self.arguments), definition, self.arguments)
        return self.args != before

    def __repr__(self) -> str:
        return f"<Queue {self.id} {self.name!r}{' deleted' if self.deleted else ''}>"


class Route(NamedTuple):
    """Where a message goes."""

    queues: tuple[Queue, ...]
    #: Encoded exchange and routing key, as records carry them.
    prefix: bytes
    #: Whether it holds for every message with this exchange and key until ``Topology.epoch`` moves.
    #: Else it holds for this one message (headers, CC, chance).
    lasting: bool
    #: Exchanges that hold the message back, with milliseconds (x-delayed-message): when the time is
    #: over, ``Topology.forward`` from there, with ``x-delay`` made negative.
    delays: tuple[tuple[str, int], ...] = ()
    #: Exchanges that keep the message for later bindings (x-recent-history), and how many they keep.
    histories: tuple[tuple[str, int], ...] = ()

"""What is in a vhost of this host: queues, exchanges, bindings, consumers, connections, messages.

Owns: the rows, their columns (rabbitmqctl's names, and ours for what only haypile has), and looking at
messages without taking them.
Must not know: how rows are printed, where the vhost was named.

Everything is read from the store, the gate page and the landings of living sessions, so a row is as of
the moment it was read, and two rows may be of two moments.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pika.spec import BasicProperties

from haypile.admin.quiet import quiet_session
from haypile.broker import message
from haypile.broker.entities import Queue
from haypile.broker.holdings import ROW
from haypile.broker.message import Message
from haypile.broker.policies import HIDDEN
from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session
from haypile.broker.source import Source
from haypile.hay.counters import NAMES, totals
from haypile.hay.sessions import settled
from haypile.lanes.landing import Landing

#: A row of a listing, by column.
Row = dict[str, Any]

#: Columns in the order they are printed, beginning with rabbitmqctl's own.
COLUMNS: dict[str, tuple[str, ...]] = {
    "queues": (
        "name",
        "messages",
        "messages_ready",
        "messages_unacknowledged",
        "consumers",
        "memory",
        "lane_depth",
        "state",
        "type",
        "durable",
        "auto_delete",
        "exclusive",
        "policy",
        "arguments",
        *NAMES,
    ),
    "exchanges": ("name", "type", "durable", "auto_delete", "internal", "arguments"),
    "bindings": ("source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"),
    "consumers": (
        "queue_name",
        "channel_pid",
        "consumer_tag",
        "ack_required",
        "prefetch_count",
        "active",
        "priority",
        "arguments",
    ),
    "connections": ("pid", "user", "state", "name", "unacknowledged", "consumers"),
}


@dataclass(frozen=True)
class Seen:
    """A message as it stands in a queue."""

    body: bytes
    exchange: str
    routing_key: str
    properties: BasicProperties
    redelivered: bool


class Look:
    """One look at a vhost, through a session of its own."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.vhost = session.vhost
        self.topology = session.vhost.topology

    # -- listings ---------------------------------------------------------------------------

    def rows(self, what: str) -> list[Row]:
        """The rows of the listing ``what``, one of ``COLUMNS``."""
        self.topology.sync()
        found: list[Row] = getattr(self, what)()
        return found

    def queues(self) -> list[Row]:
        """One row a queue, by name."""
        held = self.unacknowledged()
        counted = totals(self.vhost.hay)
        found = []
        for queue in self.visible():
            counts = counted.get(queue.id, (0,) * len(NAMES))
            found.append({**self.queue_row(queue, held[queue.id]), **dict(zip(NAMES, counts, strict=True))})
        return found

    def visible(self) -> list[Queue]:
        """The queues, by name; without those that direct reply-to works with, which RabbitMQ does not have."""
        return [queue for name, queue in sorted(self.topology.queues.items()) if not name.startswith(HIDDEN)]

    def queue_row(self, queue: Queue, unacknowledged: int) -> Row:
        """What is to be said of ``queue``."""
        with self.vhost.hay.read() as reading:
            stored, size = reading.count(queue.id)
            handle = self.session.handle_for(queue)
            stored += self.session.swaths.lying(reading, handle)
        depth = handle.outside() if handle.foreign else Source(self.session, handle).depth()
        ready = stored + depth
        policy = self.topology.policies.of_queue(queue.name, queue.args.type)
        return {
            "name": queue.name,
            "messages": ready + unacknowledged,
            "messages_ready": ready,
            "messages_unacknowledged": unacknowledged,
            "consumers": len(queue.consumers),
            "memory": size + (0 if queue.lane is None else queue.lane.maxmsg * queue.lane.msgsize),
            "lane_depth": depth,
            "state": "running",
            "type": queue.args.type,
            "durable": queue.durable,
            "auto_delete": queue.auto_delete,
            "exclusive": bool(queue.exclusive_owner),
            "policy": policy.name if policy is not None else "",
            "arguments": queue.arguments,
        }

    def exchanges(self) -> list[Row]:
        """One row an exchange, by name."""
        return [
            {
                "name": name,
                "type": exchange.type,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": exchange.arguments,
            }
            for name, exchange in sorted(self.topology.exchanges.items())
        ]

    def bindings(self) -> list[Row]:
        """Every queue's binding to the default exchange, then the others as they came."""
        found = [binding_row("", True, name, name, {}) for name in [queue.name for queue in self.visible()]]
        for _, exchange in sorted(self.topology.exchanges.items()):
            for binding in exchange.bindings.values():
                to = binding.destination
                found.append(binding_row(binding.source, to.is_queue, to.name, binding.key, binding.arguments))
        return found

    def consumers(self) -> list[Row]:
        """One row a consumer, by queue."""
        pids = {number: info.get("pid", 0) for number, info in self.sessions()}
        return [
            {
                "queue_name": queue.name,
                "channel_pid": f"{pids.get(row.session, 0)}.{row.session}.{row.channel}",
                "consumer_tag": row.tag,
                "ack_required": not row.no_ack,
                "prefetch_count": row.prefetch,
                "active": queue.active is None or queue.active == row.key,
                "priority": row.priority,
                "arguments": row.arguments,
            }
            for queue in self.visible()
            for row in queue.consumers.values()
        ]

    def connections(self) -> list[Row]:
        """One row a connection, the oldest first; not our own."""
        consumers = Counter(row.session for queue in self.topology.by_id.values() for row in queue.consumers.values())
        return [
            {
                "pid": info.get("pid", 0),
                "user": info.get("user", ""),
                "state": "running",
                "name": f"{info.get('pid', 0)}.{number}",
                "unacknowledged": sum(self.held_by(number).values()),
                "consumers": consumers[number],
            }
            for number, info in self.sessions()
            if "command" not in info
        ]

    # -- who holds what ---------------------------------------------------------------------

    def sessions(self) -> list[tuple[int, dict[str, Any]]]:
        """Every session but ours: its number, and what it said of itself."""
        with self.vhost.hay.read() as reading:
            rows = reading.sessions()
        found = []
        for number, row in rows:
            if number != self.session.id:
                try:
                    info = json.loads(bytes(row[ROW.size :]) or b"{}")
                except ValueError:
                    info = {}
                found.append((number, info))
        return found

    def unacknowledged(self) -> Counter[int]:
        """How many messages of each queue (by id) are out, delivered and not acknowledged."""
        held: Counter[int] = Counter()
        for number, _ in self.sessions():
            held.update(self.held_by(number))
        return held

    def held_by(self, number: int) -> Counter[int]:
        """How many messages of each queue (by id) the session ``number`` holds."""
        hay = self.vhost.hay
        done = settled(hay, number)
        with hay.read() as reading:
            row = reading.session(number)
            taken = reading.taken(number)
        held = Counter(entry.queue for tag, entry in taken if tag > done)
        batch = ROW.unpack_from(row)[0] if row is not None else 0
        for landed in Landing.read(hay.peers.path(number, ".landing")):
            # A lower number: the store has it already.
            if not 0 < landed.batch <= batch and (landed.record or landed.kind):
                held[landed.owner] += 1
        return held

    # -- messages ---------------------------------------------------------------------------

    def settle_due(self) -> None:
        """Have everything happened that is due by now: expiry of messages and queues, delayed messages."""
        gates, clock = self.vhost.hay.gates, self.vhost.clock
        while gates.due and gates.due <= clock.now():
            self.session.due.settle()

    def queue(self, name: str) -> Queue | None:
        """The queue called ``name``."""
        self.topology.sync()
        return self.topology.queues.get(name)

    def is_foreign(self, queue: Queue) -> bool:
        """Whether ``queue`` is a kernel queue of another program."""
        return self.session.handle_for(queue).foreign

    def counts(self, queue: Queue) -> tuple[int, int]:
        """Messages of ``queue`` that are ready, and that are out."""
        row = self.queue_row(queue, self.unacknowledged()[queue.id])
        return row["messages_ready"], row["messages_unacknowledged"]

    def peek(self, queue: Queue, count: int) -> list[Seen]:
        """Up to ``count`` messages from the head of ``queue``, which stay where they are.

        Messages of somebody else's kernel queue cannot be seen without taking them.
        """
        session = self.session
        handle = session.handle_for(queue)
        session.due.settle()
        session.holdings.make_way(handle)
        with session.holdings.write() as moving:
            self.topology.sync(moving.txn)
            moving.drain(handle)
            found = [(entry, moving.txn.record(entry)) for entry in moving.txn.entries(queue.id, count)]
            left = moving.txn.count(queue.id)[0]
        session.settle_gate(handle, left)
        seen = []
        for entry, record in found:
            try:
                one: Message = message.decode(bytes(record), session.nonce)
            except message.Foreign:
                continue
            redelivered = bool(entry.flags & 1)
            seen.append(Seen(one.body, one.exchange, one.routing_key, one.properties, redelivered))
        return seen


def binding_row(source: str, to_queue: bool, destination: str, key: str, arguments: dict[str, Any]) -> Row:
    """A row of the listing of bindings."""
    return {
        "source_name": source,
        "source_kind": "exchange",
        "destination_name": destination,
        "destination_kind": "queue" if to_queue else "exchange",
        "routing_key": key,
        "arguments": arguments,
    }


@contextmanager
def look_at(target: VhostTarget) -> Iterator[Look]:
    """A look at the vhost at ``target``. Raises what ``Session.open`` raises."""
    with quiet_session(target, "look") as session:
        yield Look(session)

"""Messages that exchanges keep: those held back for a time, and those kept for later bindings.

Owns: where they lie in the store (queues without a name, which nobody consumes from), and their way on.
Must not know: exchange types (a ``Route`` says who keeps what), timers (``due``).

https://github.com/rabbitmq/rabbitmq-delayed-message-exchange (rabbit_delayed_message.erl),
https://github.com/rabbitmq/rabbitmq-server/tree/v3.10.8/deps/rabbitmq_recent_history_exchange. They are
stored when they are published, so they outlive whoever published them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from haypile.broker import message, rows
from haypile.broker.exchanges.delayed import HEADER as DELAY
from haypile.broker.exchanges.delayed import delay_of
from haypile.broker.message import ORDER
from haypile.hay.layout import JOURNALED, Entry

if TYPE_CHECKING:
    from haypile.broker.declare.context import Context
    from haypile.broker.enqueue import Arrivals
    from haypile.broker.entities import Route
    from haypile.broker.rows import Binding

#: The queue of the messages held back, in the order of the time they are due. No queue has this id.
HELD_BACK = 0xFFFFFFFF
NO_STORE = "x-recent-history-no-store"
#: Kept messages looked at at once.
MOST = 1_000_000

_HISTORY = struct.Struct(">I")
_MS = 1_000_000


class Aside(NamedTuple):
    """Who keeps a message."""

    #: Its routing keys, those of CC and BCC too.
    keys: tuple[str, ...]
    #: Exchange, and for how many ms it holds the message back.
    delays: tuple[tuple[str, int], ...]
    #: Exchange, and how many messages it keeps.
    histories: tuple[tuple[str, int], ...]
    #: The firehose is to have a copy first.
    traced: bool = False

    def untraced(self) -> Aside | None:
        """Who keeps the message, once the firehose has its copy."""
        return Aside(self.keys, self.delays, self.histories) if self.delays or self.histories else None


def aside_of(
    route: Route, keys: tuple[str, ...], headers: dict[str, Any] | None, traced: bool = False
) -> Aside | None:
    """Who keeps a message with this route; ``traced``: the firehose is one of them. None: nobody."""
    histories = route.histories
    if histories and headers and headers.get(NO_STORE) is True:
        histories = ()
    if not histories and not route.delays and not traced:
        return None
    return Aside(keys, route.delays, histories, traced)


def keep(arrivals: Arrivals, aside: Aside, record: bytes) -> None:
    """Store ``record`` for the exchanges that keep it."""
    for exchange, delay in aside.delays:
        known = arrivals.session.vhost.topology.exchanges.get(exchange)
        durable = known is not None and known.durable and bool(record[message.FLAGS_AT] & arrivals.journals)
        _hold_back(arrivals, arrivals.now + delay * _MS, _wrap(exchange, aside.keys, record), durable)
    for exchange, most in aside.histories:
        queue = _history(arrivals, exchange, make=True)
        time = arrivals.session.publisher.now()
        order = ORDER.pack(255, time, arrivals.session.id)
        arrivals.txn.put(queue, order, _wrap(exchange, aside.keys, record))
        surplus = arrivals.txn.count(queue)[0] - most
        if surplus > 0:
            arrivals.txn.take(queue, surplus)


def _wrap(exchange: str, keys: Sequence[str], record: bytes) -> bytes:
    return rows.encode_table({"exchange": exchange, "keys": list(keys)}) + record


def _unwrap(wrapped: bytes) -> tuple[str, list[str], bytes]:
    length = 4 + int.from_bytes(wrapped[:4], "big")
    table = rows.decode_table(wrapped[:length], 0)
    return table["exchange"], table["keys"], wrapped[length:]


# -- held back --------------------------------------------------------------------------------


def renew(wrapped: bytes, nonce: bytes) -> bytes:
    """What was held back by another store, as one of the store with ``nonce``."""
    start = 4 + int.from_bytes(wrapped[:4], "big")
    return wrapped[:start] + nonce + wrapped[start + len(nonce) :]


def _hold_back(arrivals: Arrivals, due: int, wrapped: bytes, durable: bool) -> None:
    txn, session = arrivals.txn, arrivals.session
    while True:
        order = ORDER.pack(255, due, session.id)
        try:
            txn.record(Entry(HELD_BACK, order, 0, 0, 0, 0, 0))
        except KeyError:
            break
        # Another one of ours is due at the same time: the next one follows it.
        due += 1
    txn.put(HELD_BACK, order, wrapped, flags=JOURNALED if durable else 0)
    note_next(arrivals)


def note_next(arrivals: Arrivals) -> None:
    """See that somebody looks when the next message is due."""
    head = arrivals.txn.head(HELD_BACK)
    if head is not None:
        arrivals.session.due.note_held_back(arrivals.txn, ORDER.unpack(head.order)[1])


def release(arrivals: Arrivals, limit: int) -> None:
    """Route the messages whose time has come."""
    for entry in arrivals.txn.entries(HELD_BACK, limit):
        if ORDER.unpack(entry.order)[1] > arrivals.now:
            break
        found = arrivals.txn.remove(HELD_BACK, entry.order)
        if found is not None:
            _send_on(arrivals, *_unwrap(found[1]))
    note_next(arrivals)


def _send_on(arrivals: Arrivals, exchange: str, keys: list[str], record: bytes) -> None:
    """From the exchange that held it back; ``x-delay`` is the negative of what it was.

    But clients see what was sent: RabbitMQ 3.10 hands on the properties as they came over the wire, unless a dead
    letter exchange wrote them anew.
    """
    session = arrivals.session
    try:
        decoded = message.decode(record, session.nonce)
    except message.Foreign:
        return
    headers = turned(decoded.properties.headers)
    flags = decoded.flags | message.HELD_BACK
    if "x-death" in headers:
        decoded.properties.headers, flags = headers, decoded.flags
    route = session.vhost.topology.forward(exchange, keys[0], headers, keys[1:], decoded.properties)
    if route is None:
        return
    time = session.publisher.now()
    new = message.encode(
        session.nonce,
        time,
        session.id,
        message.encode_prefix(decoded.exchange, decoded.routing_key),
        message.encode_properties(decoded.properties),
        decoded.body,
        decoded.priority,
        flags,
    )
    arrivals.deliver(route, tuple(keys), new, time, decoded)


def turned(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Headers with the negative of their ``x-delay`` (rabbit_misc:set_table_value sorts the table)."""
    return dict(sorted({**(headers or {}), DELAY: -delay_of(headers)}.items()))


# -- history ----------------------------------------------------------------------------------


def _history(arrivals: Arrivals, exchange: str, *, make: bool) -> int:
    """The queue of what ``exchange`` keeps; 0: there is none."""
    key = rows.history_key(exchange)
    value = arrivals.txn.row(key)
    if value is not None:
        return int(_HISTORY.unpack(value)[0])
    if not make:
        return 0
    number = arrivals.txn.next_id("queue")
    arrivals.session.vhost.topology.write(arrivals.txn, key, _HISTORY.pack(number))
    return number


def recall(arrivals: Arrivals, binding: Binding) -> None:
    """Hand what the source of a new ``binding`` has kept to its destination: oldest first to a queue,
    newest first to an exchange."""
    session = arrivals.session
    queue = _history(arrivals, binding.source, make=False)
    if not queue:
        return
    topology = session.vhost.topology
    kept = list(arrivals.txn.entries(queue, MOST))
    for entry in kept if binding.destination.is_queue else reversed(kept):
        _, keys, record = _unwrap(arrivals.txn.record(entry))
        try:
            decoded = message.decode(record, session.nonce)
        except message.Foreign:
            continue
        time = session.publisher.now()
        if binding.destination.is_queue:
            handle = session.handle_for(topology.queues[binding.destination.name])
            arrivals.put_all([handle], record, time, decoded.priority, decoded.properties.expiration)
            continue
        properties = decoded.properties
        route = topology.forward(binding.destination.name, keys[0], properties.headers, keys[1:], properties)
        if route is not None:
            arrivals.deliver(route, tuple(keys), record, time, decoded)


def forget(ctx: Context, exchange: str) -> None:
    """The exchange is gone, and with it what it kept."""
    key = rows.history_key(exchange)
    value = ctx.txn.row(key)
    if value is not None:
        ctx.txn.purge(_HISTORY.unpack(value)[0])
        ctx.put(key, None)

"""Topology as rows: keys, values, and the objects they decode to.

Owns: the layout of every topology row in the hay.
Must not know: who writes rows and when (``declare``), what is cached (``topology``).

A key is one octet for the kind, then what identifies the row. Values are a fixed head and, where
the object has arguments, an AMQP field table in pika's encoding, so that every type survives;
an empty table is left out. Names are at most 255 octets (AMQP short strings), so keys stay far
below the store's limit of 511; a binding, which has three names, is keyed by a digest.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pika import data

from haypile.broker.policies import Policy
from haypile.hay.errors import Damaged

EXCHANGE, QUEUE, BINDING, CONSUMER, LANE, ACTIVE = b"x", b"q", b"b", b"c", b"l", b"a"
HISTORY, POLICY, OPERATOR, LIMITS = b"h", b"p", b"o", b"v"

DURABLE, AUTO_DELETE, INTERNAL = 1, 2, 4
NO_ACK, EXCLUSIVE, BLOCKED = 1, 2, 4

_QUEUE = struct.Struct(">IIIB")
_CONSUMER_KEY = struct.Struct(">cIIH")
_CONSUMER = struct.Struct(">QqHB")
_LANE = struct.Struct(">HI")
_ID = struct.Struct(">cI")
_SINCE = struct.Struct(">Q")
_HOLDER = struct.Struct(">IH")

_P = ParamSpec("_P")
_T = TypeVar("_T")

ConsumerKey = tuple[int, int, str]


class Destination(NamedTuple):
    """What a binding leads to."""

    is_queue: bool
    name: str


class Binding(NamedTuple):
    """One row of a routing table."""

    source: str
    destination: Destination
    key: str
    arguments: dict[str, Any]
    #: The row's key: equal for equal bindings, arguments included.
    id: bytes
    #: Grows with every binding of the vhost: the order they came in.
    since: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Binding) and self.id == other.id

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.id)


class ConsumerRow(NamedTuple):
    """A consumer as every process sees it."""

    queue: int
    session: int
    channel: int
    tag: str
    #: Grows with every consumer of the vhost: the order they came in.
    since: int
    priority: int
    prefetch: int
    no_ack: bool
    exclusive: bool
    arguments: dict[str, Any]
    #: It has no credit, so that consumers of lower priority may receive.
    blocked: bool = False

    @property
    def key(self) -> ConsumerKey:
        """What tells it from the queue's other consumers."""
        return (self.session, self.channel, self.tag)


class LaneRow(NamedTuple):
    """The kernel queue of a queue: its name and size."""

    name: str
    maxmsg: int
    msgsize: int


class ExchangeRow(NamedTuple):
    """An exchange as stored."""

    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: dict[str, Any]


class QueueRow(NamedTuple):
    """A queue as stored."""

    id: int
    slot: int
    owner: int
    durable: bool
    auto_delete: bool
    arguments: dict[str, Any]


class BadRow(Damaged):
    """These bytes are no row's value: something else has written into the store."""


def _row(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """``decode`` with one kind of error: pika's decoders raise many on bytes that no encoder made."""

    @functools.wraps(decode)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return decode(*args, **kwargs)
        except BadRow:
            raise
        except Exception as error:
            raise BadRow(f"a row of the store cannot be read ({error}); stop its users and remove it") from error

    return guarded


def encode_table(table: dict[str, Any] | None) -> bytes:
    """AMQP encoding of ``table``; nothing for an empty one.

    Raises ``pika.exceptions.UnsupportedAMQPFieldException`` for values AMQP has no type for.
    """
    if not table:
        return b""
    pieces: list[bytes] = []
    data.encode_table(pieces, table)
    return b"".join(pieces)


@_row
def decode_table(value: bytes, offset: int) -> dict[str, Any]:
    """The table that starts at ``offset``, the last thing in ``value``."""
    if offset >= len(value):
        return {}
    table: dict[str, Any] = data.decode_table(value, offset)[0]
    return table


def _short(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


def _read_short(value: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + value[offset]
    return value[offset + 1 : end].decode(), end


# -- exchanges --------------------------------------------------------------------------------


def exchange_key(name: str) -> bytes:
    """Key of the row of exchange ``name``."""
    return EXCHANGE + name.encode()


def history_key(name: str) -> bytes:
    """Key of the row that says where exchange ``name`` keeps messages."""
    return HISTORY + name.encode()


def encode_exchange(row: ExchangeRow) -> bytes:
    """Value of an exchange's row."""
    flags = (
        (DURABLE if row.durable else 0) | (AUTO_DELETE if row.auto_delete else 0) | (INTERNAL if row.internal else 0)
    )
    return bytes((flags,)) + _short(row.type) + encode_table(row.arguments)


@_row
def decode_exchange(value: bytes) -> ExchangeRow:
    """The exchange in a row's value."""
    flags = value[0]
    kind, end = _read_short(value, 1)
    return ExchangeRow(
        kind,
        bool(flags & DURABLE),
        bool(flags & AUTO_DELETE),
        bool(flags & INTERNAL),
        decode_table(value, end),
    )


# -- queues -----------------------------------------------------------------------------------


def queue_key(name: str) -> bytes:
    """Key of the row of queue ``name``."""
    return QUEUE + name.encode()


def encode_queue(row: QueueRow) -> bytes:
    """Value of a queue's row."""
    flags = (DURABLE if row.durable else 0) | (AUTO_DELETE if row.auto_delete else 0)
    return _QUEUE.pack(row.id, row.slot, row.owner, flags) + encode_table(row.arguments)


@_row
def decode_queue(value: bytes) -> QueueRow:
    """The queue in a row's value."""
    number, slot, owner, flags = _QUEUE.unpack_from(value)
    return QueueRow(
        number,
        slot,
        owner,
        bool(flags & DURABLE),
        bool(flags & AUTO_DELETE),
        decode_table(value, _QUEUE.size),
    )


# -- policies ---------------------------------------------------------------------------------


def policy_key(kind: bytes, name: str) -> bytes:
    """Key of the row of policy ``name``; ``kind`` is POLICY or OPERATOR. Raises ValueError: too long a name."""
    key = kind + name.encode()
    if len(key) > 256:
        raise ValueError(f"the name of a policy has at most 255 bytes: {name[:40]!r}…")
    return key


def encode_policy(policy: Policy) -> bytes:
    """Value of a policy's row."""
    return encode_table(
        {
            "pattern": policy.pattern,
            "definition": policy.definition,
            "priority": policy.priority,
            "apply-to": policy.apply_to,
        }
    )


def decode_policy(key: bytes, value: bytes) -> Policy:
    """The policy in a row."""
    table = decode_table(value, 0)
    return Policy.checked(key[1:].decode(), table["pattern"], table["definition"], table["priority"], table["apply-to"])


# -- bindings ---------------------------------------------------------------------------------


def make_binding(source: str, destination: Destination, key: str, arguments: dict[str, Any]) -> Binding:
    """The binding from ``source`` to ``destination``; its id does not depend on the order of arguments.

    "All arguments are significant": RabbitMQ keeps bindings apart that differ in them, after
    sorting the table by key.
    """
    import hashlib  # noqa: PLC0415 - takes as long as ten of our modules, and many programs bind nothing

    ordered = {name: arguments[name] for name in sorted(arguments, key=str)}
    digest = hashlib.blake2b(_binding_value(source, destination, key, ordered), digest_size=16).digest()
    return Binding(source, destination, key, ordered, BINDING + digest)


def _binding_value(source: str, destination: Destination, key: str, arguments: dict[str, Any]) -> bytes:
    return b"".join(
        (
            b"q" if destination.is_queue else b"x",
            _short(source),
            _short(destination.name),
            _short(key),
            encode_table(arguments),
        )
    )


def encode_binding(binding: Binding, since: int, durable: bool = False) -> bytes:
    """Value of a binding's row; its key is ``binding.id``. The values sort by ``since``.

    ``durable``: both its ends are. A capital letter says so.
    """
    value = _binding_value(binding.source, binding.destination, binding.key, binding.arguments)
    return _SINCE.pack(since) + (value[:1].upper() if durable else value[:1]) + value[1:]


@_row
def decode_binding(key: bytes, value: bytes) -> Binding:
    """The binding in a row."""
    (since,) = _SINCE.unpack_from(value)
    at = _SINCE.size
    source, end = _read_short(value, at + 1)
    name, end = _read_short(value, end)
    routing_key, end = _read_short(value, end)
    destination = Destination(value[at : at + 1] in b"qQ", name)
    return Binding(source, destination, routing_key, decode_table(value, end), key, since)


# -- durability -------------------------------------------------------------------------------


def is_durable(key: bytes, value: bytes) -> bool:
    """Whether a row outlives a reboot: of a durable exchange, queue, or binding between such."""
    kind = key[:1]
    if kind in (POLICY, OPERATOR, LIMITS):
        return True
    if kind == EXCHANGE:
        return bool(value[0] & DURABLE)
    if kind == QUEUE:
        return bool(value[_QUEUE.size - 1] & DURABLE)
    return kind == BINDING and value[_SINCE.size : _SINCE.size + 1].isupper()


def with_slot(value: bytes, slot: int) -> bytes:
    """A queue's row with another gate slot."""
    number, _, owner, flags = _QUEUE.unpack_from(value)
    return _QUEUE.pack(number, slot, owner, flags) + value[_QUEUE.size :]


# -- consumers, lanes -------------------------------------------------------------------------


def consumer_key(queue: int, session: int, channel: int, tag: str) -> bytes:
    """Key of a consumer's row."""
    return _CONSUMER_KEY.pack(CONSUMER, queue, session, channel) + tag.encode()


def split_consumer_key(key: bytes) -> tuple[int, ConsumerKey]:
    """Queue id, and the consumer's key within the queue."""
    _, queue, session, channel = _CONSUMER_KEY.unpack_from(key)
    return queue, (session, channel, key[_CONSUMER_KEY.size :].decode())


def encode_consumer(row: ConsumerRow) -> bytes:
    """Value of a consumer's row."""
    flags = (NO_ACK if row.no_ack else 0) | (EXCLUSIVE if row.exclusive else 0) | (BLOCKED if row.blocked else 0)
    return _CONSUMER.pack(row.since, row.priority, row.prefetch, flags) + encode_table(row.arguments)


@_row
def decode_consumer(key: bytes, value: bytes) -> ConsumerRow:
    """The consumer in a row."""
    queue, (session, channel, tag) = split_consumer_key(key)
    since, priority, prefetch, flags = _CONSUMER.unpack_from(value)
    return ConsumerRow(
        queue,
        session,
        channel,
        tag,
        since,
        priority,
        prefetch,
        bool(flags & NO_ACK),
        bool(flags & EXCLUSIVE),
        decode_table(value, _CONSUMER.size),
        bool(flags & BLOCKED),
    )


def lane_key(queue: int) -> bytes:
    """Key of the row of a queue's lane."""
    return _ID.pack(LANE, queue)


def active_key(queue: int) -> bytes:
    """Key of the row that names a queue's single active consumer."""
    return _ID.pack(ACTIVE, queue)


def queue_of(key: bytes) -> int:
    """Queue id in a lane's or an active consumer's key."""
    return int(_ID.unpack_from(key)[1])


def encode_lane(lane: LaneRow) -> bytes:
    """Value of a lane's row."""
    return _LANE.pack(lane.maxmsg, lane.msgsize) + lane.name.encode()


@_row
def decode_lane(value: bytes) -> LaneRow:
    """The lane in a row's value."""
    maxmsg, msgsize = _LANE.unpack_from(value)
    return LaneRow(value[_LANE.size :].decode(), maxmsg, msgsize)


def encode_holder(key: ConsumerKey) -> bytes:
    """Value of an active consumer's row."""
    return _HOLDER.pack(key[0], key[1]) + key[2].encode()


@_row
def decode_holder(value: bytes) -> ConsumerKey:
    """The consumer in an active consumer's row."""
    session, channel = _HOLDER.unpack_from(value)
    return (session, channel, value[_HOLDER.size :].decode())

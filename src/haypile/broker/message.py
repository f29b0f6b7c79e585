"""A message as bytes: what travels through a lane and lies in the hay.

Owns: the record's layout, and the encoding of properties in it.
Must not know: queues, lanes, the store.

A record is ``header | exchange and routing key | properties | body``. The header
starts with the store's random nonce, so that bytes which some other program wrote
into a lane are told apart; every length is checked before it is used. Properties are
encoded as AMQP 0-9-1 encodes them on the wire (section 4.2.6.1), by pika's own codec:
what goes in comes out with the types a RabbitMQ would give back. Nothing is unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pika.spec import Basic, BasicProperties

if TYPE_CHECKING:
    from haypile.broker.ports import Content

#: nonce, publish time (ns), publishing session, body length, properties length,
#: prefix length, priority, flags.
HEADER = struct.Struct("<8sQIIIHBB")
HEADER_SIZE = HEADER.size
#: Nonce and body length alone, and what comes behind that: lengths, priority, flags, prefix, properties.
_NONCE_AND_LENGTH, _ALIKE_AT = struct.Struct("<8s12xI"), 24
#: Key of a message within its queue: 255 - priority, publish time, session.
ORDER = struct.Struct(">BQI")

#: Record flags, and where they stand in a record.
PERSISTENT = 1
#: Was held back: to brokers its x-delay is the negative of what it says, to clients what it says.
HELD_BACK = 2
#: Its queue had a message TTL when it went into the lane: should it ever get into the store, it expires (``queue``).
AGING = 4
#: Its body is not here: what stands in its place says where it is (``bodies``).
APART = 8
#: What that byte may be of a persistent message.
PERSISTENTS = frozenset(bytes((flags,)) for flags in range(16) if flags & PERSISTENT)
FLAGS_AT = HEADER_SIZE - 1
#: In the place of a body: session whose slab has it, bytes of a slot there, slot, and the number it is in use under.
REFERENCE = struct.Struct("<IIIxxxxQ")

#: Distinct property sets remembered by each codec cache; beyond it the cache starts anew.
CACHE_LIMIT = 1024
#: RabbitMQ's default max_message_size (https://www.rabbitmq.com/docs/3.13/configure), bytes.
MAX_BODY = 134_217_728
#: What a content header frame holds at most (RabbitMQ says 8 less, and takes this), and beside properties; bytes.
MAX_HEADER, HEADER_FIELDS = 131_072, 12

_EMPTY = vars(BasicProperties()).copy()
_Deliver = Basic.Deliver
_new_delivery, _new_properties = _Deliver.__new__, BasicProperties.__new__
#: Half the time of calling a NamedTuple.
_new_tuple = tuple.__new__
_encoded: dict[tuple[Any, ...], bytes] = {}
_decoded: dict[bytes, dict[str, Any]] = {b"": _EMPTY}
_prefixes: dict[bytes, tuple[str, str]] = {}


#: What a client sees: exchange, routing key, properties, body.
Contents: TypeAlias = tuple[str, str, BasicProperties, bytes]


class Foreign(Exception):
    """These bytes are no record of this store."""


class Message(NamedTuple):
    """A decoded record."""

    exchange: str
    routing_key: str
    properties: BasicProperties
    body: bytes
    time: int
    session: int
    priority: int
    flags: int


def encode_prefix(exchange: str, routing_key: str) -> bytes:
    """Encode where a message was published, as records carry it."""
    name = exchange.encode()
    return bytes((len(name),)) + name + routing_key.encode()


def decode_prefix(prefix: bytes) -> tuple[str, str]:
    """Exchange and routing key of ``encode_prefix``'s bytes."""
    known = _prefixes.get(prefix)
    if known is not None:
        return known
    end = 1 + prefix[0]
    decoded = prefix[1:end].decode(), prefix[end:].decode()
    if len(_prefixes) >= CACHE_LIMIT:
        _prefixes.clear()
    _prefixes[prefix] = decoded
    return decoded


def encode_properties(properties: BasicProperties | None) -> bytes:
    """AMQP encoding of ``properties``; empty when none is set.

    Raises whatever pika raises for a value it cannot encode.
    """
    if properties is None:
        return b""
    values = properties.__dict__
    if values == _EMPTY:
        return b""
    if properties.headers is not None:
        return b"".join(properties.encode())
    key = tuple(values.values())
    known = _encoded.get(key)
    if known is not None:
        return known
    encoded = b"".join(properties.encode())
    if len(_encoded) >= CACHE_LIMIT:
        _encoded.clear()
    _encoded[key] = encoded
    return encoded


def decode_properties(encoded: bytes) -> BasicProperties:
    """A fresh ``BasicProperties``, which the caller may change at will."""
    template = _decoded.get(encoded)
    if template is None:
        properties = BasicProperties()
        properties.decode(encoded)
        if properties.headers is None:
            if len(_decoded) >= CACHE_LIMIT:
                _decoded.clear()
                _decoded[b""] = _EMPTY
            _decoded[encoded] = dict(properties.__dict__)
        return properties
    fresh: BasicProperties = _new_properties(BasicProperties)
    fresh.__dict__ = template.copy()
    return fresh


def encode(
    nonce: bytes,
    time: int,
    session: int,
    prefix: bytes,
    properties: bytes,
    body: bytes,
    priority: int,
    flags: int,
) -> bytes:
    """One record."""
    return b"".join(
        (
            HEADER.pack(nonce, time, session, len(body), len(properties), len(prefix), priority, flags),
            prefix,
            properties,
            body,
        )
    )


def encode_message(message: Message, nonce: bytes) -> bytes:
    """The record of ``message``."""
    return encode(
        nonce,
        message.time,
        message.session,
        encode_prefix(message.exchange, message.routing_key),
        encode_properties(message.properties),
        message.body,
        message.priority,
        message.flags,
    )


def decode(record: bytes, nonce: bytes) -> Message:
    """The message in ``record``.

    Raises ``Foreign`` when these are not the bytes of a record of this store.
    """
    exchange, routing_key, properties, body = contents(record, nonce)
    _, time, session, _, _, _, priority, flags = HEADER.unpack_from(record)
    return _new_tuple(Message, (exchange, routing_key, properties, body, time, session, priority, flags))


#: Finds the body that a record refers to. Raises ``Foreign``.
Fetch: TypeAlias = Callable[[bytes], bytes]


def contents(record: bytes, nonce: bytes, fetch: Fetch | None = None) -> Contents:
    """Of the message in ``record``: exchange, routing key, properties, body; ``fetch`` is asked for one that is apart.

    Raises ``Foreign`` when these are not the bytes of a record of this store.
    """
    try:
        found, _, _, body_length, props_length, prefix_length, _, flags = HEADER.unpack_from(record)
        props_at = HEADER_SIZE + prefix_length
        body_at = props_at + props_length
        apart = flags & APART and fetch is not None
        if apart:
            body_length = REFERENCE.size
        if found != nonce or body_at + body_length != len(record) or not prefix_length:
            raise Foreign(f"{len(record)} bytes that are no record of this vhost")
        prefix = record[HEADER_SIZE:props_at]
        known = _prefixes.get(prefix)
        exchange, routing_key = known if known is not None else decode_prefix(prefix)
        encoded = record[props_at:body_at]
        template = _decoded.get(encoded)
        if template is None:
            properties = decode_properties(encoded)
        else:
            properties = _new_properties(BasicProperties)
            properties.__dict__ = template.copy()
        # Last: who takes it takes it away.
        return exchange, routing_key, properties, fetch(record) if apart and fetch else record[body_at:]
    except Foreign:
        raise
    except Exception as error:
        # pika's decoders raise many kinds on bytes that no encoder made.
        raise Foreign(f"{len(record)} bytes that are no record of this vhost: {error}") from error


#: ``read_all(records, made, consumer, last, step, aside)``.
ReadAll: TypeAlias = Callable[
    [Iterable[bytes], "list[Content]", str, int, int, Callable[[bytes, Foreign], None]], None
]


def reader(nonce: bytes, fetch: Fetch | None = None) -> tuple[Callable[[bytes], Contents], ReadAll]:
    """``contents`` for the records of one queue, which mostly look alike; and deliveries of many of them.

    What stands in a record before its body, as far as a client sees it, is not taken apart again when it equals
    the last one's. ``fetch``: see ``contents``.
    """
    start, body_at, exchange, routing_key, template = None, HEADER_SIZE, "", "", _EMPTY
    nonce_and_length = _NONCE_AND_LENGTH.unpack_from

    def read(record: bytes) -> Contents:
        nonlocal start, body_at, exchange, routing_key, template
        if record[_ALIKE_AT:body_at] == start:
            found, length = nonce_and_length(record)
            if found == nonce and body_at + length == len(record):
                properties = _new_properties(BasicProperties)
                properties.__dict__ = template.copy()
                return exchange, routing_key, properties, record[body_at:]
        made = contents(record, nonce, fetch)
        _, _, _, _, props_length, prefix_length, _, _ = HEADER.unpack_from(record)
        props_at = HEADER_SIZE + prefix_length
        known = _decoded.get(record[props_at : props_at + props_length])
        if known is not None:
            exchange, routing_key, template = made[0], made[1], known
            body_at = props_at + props_length
            start = record[_ALIKE_AT:body_at]
        return made

    def read_all(
        records: Iterable[bytes],
        made: list[Content],
        consumer: str,
        last: int,
        step: int,
        aside: Callable[[bytes, Foreign], None],
    ) -> None:
        """Append deliveries to ``consumer`` to ``made``; each tag is ``step`` more, the first one more than ``last``.

        What is no record goes ``aside``. The loop says once more what ``read`` does: that spares each message a call
        and a constructor.
        """
        tag = last + 1
        for record in records:
            if (
                record[_ALIKE_AT:body_at] == start
                and nonce_and_length(record) == (nonce, len(record) - body_at)
            ):
                properties = _new_properties(BasicProperties)
                properties.__dict__ = template.copy()
                delivery = _new_delivery(_Deliver)
                delivery.exchange, delivery.routing_key = exchange, routing_key
                body = record[body_at:]
            else:
                try:
                    name, key, properties, body = read(record)
                except Foreign as error:
                    aside(record, error)
                    continue
                delivery = _new_delivery(_Deliver)
                delivery.exchange, delivery.routing_key = name, key
            delivery.consumer_tag, delivery.delivery_tag, delivery.redelivered = consumer, tag, False
            made.append((delivery, properties, body))
            tag += step

    return read, read_all


def order_of(record: bytes, prioritised: int = 0) -> bytes:
    """The key of ``record`` within its queue; ``prioritised`` is the queue's highest priority."""
    _, time, session, _, _, _, priority, _ = HEADER.unpack_from(record)
    return ORDER.pack(255 - min(priority, prioritised), time, session)


def trim(record: bytes, nonce: bytes) -> bytes:
    """``record`` without what is behind it (all bytes of a slot, where nobody could note the length)."""
    if len(record) < HEADER_SIZE or not record.startswith(nonce):
        return record
    return record[: length_of(record)]


def length_of(record: bytes) -> int:
    """Length that the header of ``record`` announces (a landing slot may hold more bytes)."""
    _, _, _, body_length, props_length, prefix_length, _, flags = HEADER.unpack_from(record)
    if flags & APART:
        body_length = REFERENCE.size
    return int(HEADER_SIZE + prefix_length + props_length + body_length)

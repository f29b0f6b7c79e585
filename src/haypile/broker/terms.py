"""AMQP field values as RabbitMQ sees them: Erlang terms.

Owns: the AMQP type that pika gives a Python value on the wire, the comparison of values, and
their rendering in RabbitMQ's error texts.
Must not know: which arguments mean what (``arguments``).

A *term* is a hashable Python value that is equal to another exactly when RabbitMQ's are: text
and binary are the same octets, a timestamp is its integer, true is not 1.
"""

from __future__ import annotations

import calendar
import struct
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from haypile.broker.wide import long

Term = Any


class Atom(NamedTuple):
    """An Erlang atom."""

    name: str


class Nested(NamedTuple):
    """A field table (``{key, type, term}`` each) or an array (``{type, term}`` each)."""

    items: tuple[tuple[Any, ...], ...]


class Scaled(NamedTuple):
    """A decimal, as it is on the wire."""

    scale: int
    value: int


UNDEFINED = Atom("undefined")
TRUE = Atom("true")
FALSE = Atom("false")

#: RabbitMQ's names of the integer types (INTEGER_ARG_TYPES in rabbit.hrl).
INTEGER_TYPES = frozenset(("byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint"))


def type_name(value: Any) -> str:
    """RabbitMQ's name of the AMQP type that pika encodes ``value`` as.

    Raises TypeError for a value that pika cannot encode.
    """
    if isinstance(value, str):
        return "longstr"
    if isinstance(value, bytes):
        return "binary"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, long):
        return "long"
    if isinstance(value, int):
        return "signedint" if -(2**31) <= value < 2**31 else "long"
    if isinstance(value, Decimal):
        return "decimal"
    if isinstance(value, datetime):
        return "timestamp"
    if isinstance(value, dict):
        return "table"
    if isinstance(value, list):
        return "array"
    if value is None:
        return "void"
    raise TypeError(f"no AMQP type for {type(value).__name__}")


def term(value: Any) -> Term:
    """``value`` as RabbitMQ would hold it."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, (bytes, int)):
        return value
    if isinstance(value, Decimal):
        return _scaled(value)
    if isinstance(value, datetime):
        return calendar.timegm(value.utctimetuple())
    if isinstance(value, Mapping):
        return Nested(tuple((_text(key), type_name(item), term(item)) for key, item in value.items()))
    if isinstance(value, list):
        return Nested(tuple((type_name(item), term(item)) for item in value))
    return UNDEFINED


def _text(key: Any) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def _scaled(value: Decimal) -> Scaled:
    """The scale and the raw value pika puts on the wire for ``value``."""
    value = value.normalize()
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < 0:
        raw = int(value * (Decimal(10) ** -exponent))
        return Scaled(-exponent, struct.unpack(">I", struct.pack(">i", raw))[0])
    return Scaled(0, int(value))


def as_text(octets: bytes) -> str:
    """Octets as part of an error text, which carries them unchanged (``AMQPError.reply_text``)."""
    return octets.decode(errors="surrogateescape")


def show(shown: Term) -> str:
    """``shown`` as Erlang's ``~p`` prints it on a wide page."""
    if isinstance(shown, bytes):
        return _show_binary(shown)
    if isinstance(shown, Atom):
        return shown.name
    if isinstance(shown, Scaled):
        return f"{{{shown.scale},{shown.value}}}"
    if isinstance(shown, Nested):
        return "[" + ",".join(_show_tuple(item) for item in shown.items) + "]"
    return str(shown)


def _show_tuple(item: tuple[Any, ...]) -> str:
    # {key, type, value} or {type, value}: the type is an atom.
    *key, kind, value = item
    return "{" + ",".join([*map(show, key), kind, show(value)]) + "}"


def _show_binary(octets: bytes) -> str:
    if not octets:
        return "<<>>"
    if all(32 <= code < 127 or code >= 160 or code in _ESCAPES for code in octets):
        return '<<"' + "".join(_ESCAPES.get(ord(char), char) for char in as_text(octets)) + '">>'
    return "<<" + ",".join(map(str, octets)) + ">>"


_ESCAPES = {
    8: "\\b",
    9: "\\t",
    10: "\\n",
    11: "\\v",
    12: "\\f",
    13: "\\r",
    27: "\\e",
    34: '\\"',
    92: "\\\\",
}


def quote(text: str) -> str:
    """A list of characters as ``~p`` prints it."""
    return '"' + "".join(_ESCAPES.get(ord(char), char) for char in text) + '"'

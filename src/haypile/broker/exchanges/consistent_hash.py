"""The consistent hash exchange: a key always goes to the same one of the destinations.

Owns: the buckets, and what of a message is hashed.
Must not know: as ``base``.

https://github.com/rabbitmq/rabbitmq-server/tree/v3.10.8/deps/rabbitmq_consistent_hash_exchange. A
binding's key is the number of buckets its destination gets; buckets are numbered in the order the
bindings came. The same message goes to the same queue as in a RabbitMQ with the same bindings.

One difference: a destination bound twice has the buckets of its first binding that is left, where
RabbitMQ takes all of them away with either binding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from haypile.broker.errors import InternalError, PreconditionFailed
from haypile.broker.exchanges.base import Headers, Message, Router
from haypile.broker.exchanges.erlang_hash import exs1024, phash2
from haypile.broker.rows import Binding, Destination
from haypile.broker.terms import UNDEFINED, Atom, Term, as_text, show, term, type_name

HEADER, PROPERTY = "hash-header", "hash-property"
PROPERTIES = ("correlation_id", "message_id", "timestamp")


class ConsistentHash(Router):
    """``x-consistent-hash``."""

    type = "x-consistent-hash"

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self.by_key = HEADER not in arguments and PROPERTY not in arguments
        self._bindings: dict[bytes, Binding] = {}
        #: Destination and the first bucket behind its own, in order.
        self._buckets: list[tuple[Destination, int]] = []

    @classmethod
    def check_exchange(cls, name: str, arguments: Headers) -> None:
        for argument in (HEADER, PROPERTY):
            if argument in arguments and not isinstance(arguments[argument], str):
                raise InternalError
        if PROPERTY in arguments:
            if HEADER in arguments:
                raise PreconditionFailed(f"{HEADER} and {PROPERTY} are mutually exclusive")
            if arguments[PROPERTY] not in PROPERTIES:
                raise PreconditionFailed(f"Unsupported property: {arguments[PROPERTY]}")

    @classmethod
    def check_binding(cls, key: str, arguments: Headers) -> None:
        weight = _weight(key)
        if weight is None:
            raise PreconditionFailed(f"The binding key must be an integer: {show(key.encode())}")
        if weight < 1:
            raise PreconditionFailed("The binding key must be greater than 0")

    def add(self, binding: Binding) -> None:
        self._bindings[binding.id] = binding
        self._number()

    def remove(self, binding: Binding) -> None:
        self._bindings.pop(binding.id, None)
        self._number()

    def _number(self) -> None:
        weights: dict[Destination, int] = {}
        for binding in self._bindings.values():
            weights.setdefault(binding.destination, _weight(binding.key) or 1)
        self._buckets = []
        end = 0
        for destination, weight in weights.items():
            end += weight
            self._buckets.append((destination, end))

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        if not self._buckets:
            return ()
        bucket = _jump(self._hashed(keys[0], message), self._buckets[-1][1])
        return (next(destination for destination, end in self._buckets if bucket < end),)

    def _hashed(self, key: str, message: Message) -> Term:
        if HEADER in self.arguments:
            return _header(message.headers, self.arguments[HEADER])
        if PROPERTY in self.arguments:
            return _property(getattr(message.properties, self.arguments[PROPERTY], None))
        return key.encode()


def _weight(key: str) -> int | None:
    """What Erlang's list_to_integer makes of ``key``."""
    digits = key[1:] if key[:1] in ("+", "-") else key
    return int(key) if digits.isascii() and digits.isdigit() else None


def _header(headers: dict[str, Any] | None, name: str) -> Term:
    if not headers or name not in headers:
        return UNDEFINED
    value = headers[name]
    return (Atom(type_name(value)), term(value))


def _property(value: Any) -> Term:
    if value is None:
        return UNDEFINED
    return str(value).encode()


def _jump(value: Term, buckets: int) -> int:
    """Jump consistent hash (https://arxiv.org/abs/1406.2294) with Erlang's random numbers."""
    if buckets == 1:
        return 0
    try:
        numbers = exs1024(phash2(value))
    except ValueError:
        # A table or an array as the header: any fixed number will do.
        numbers = exs1024(phash2(as_text(repr(value).encode()).encode()))
    bucket = candidate = 0
    while candidate < buckets:
        bucket = candidate
        candidate = int((bucket + 1) / next(numbers))
    return bucket

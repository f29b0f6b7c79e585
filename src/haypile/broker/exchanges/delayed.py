"""The delayed message exchange: holds messages back, then routes as another type does.

Owns: its arguments, and how long a message is to be held back.
Must not know: as ``base``; the messages are held by the broker.

https://github.com/rabbitmq/rabbitmq-delayed-message-exchange. While a message is held back it has
no destination, so a mandatory one is returned. Afterwards its ``x-delay`` header is the negative of
what it was, which does not delay it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from haypile.broker import texts
from haypile.broker.errors import CommandInvalid, InternalError, PreconditionFailed
from haypile.broker.exchanges.base import Headers, Message, Router, RouterType
from haypile.broker.rows import Binding, Destination

TYPE = "x-delayed-type"
HEADER = "x-delay"
#: Longest delay, ms (an Erlang timer's); more is no delay.
LONGEST = 4_294_967_295


class Delayed(Router):
    """``x-delayed-message``."""

    type = "x-delayed-message"
    by_key = False
    #: The exchange types there are; set where they are listed.
    types: ClassVar[Mapping[str, RouterType]] = {}

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self._inner = self.types[arguments[TYPE]](arguments)

    @classmethod
    def check_exchange(cls, name: str, arguments: Headers) -> None:
        kind = arguments.get(TYPE)
        if isinstance(kind, bytes):
            kind = kind.decode(errors="replace")
        if kind == cls.type:
            raise PreconditionFailed(f"Invalid argument, '{cls.type}' can't be used for '{TYPE}'")
        if not isinstance(kind, str):
            raise PreconditionFailed(f"Invalid argument, '{TYPE}' must be an existing exchange type")
        if kind not in cls.types:
            raise CommandInvalid(texts.unknown_exchange_type(kind))
        cls.types[kind].check_exchange(name, arguments)

    def check_own_binding(self, key: str, arguments: Headers) -> None:
        self._inner.check_own_binding(key, arguments)

    def add(self, binding: Binding) -> None:
        self._inner.add(binding)

    def remove(self, binding: Binding) -> None:
        self._inner.remove(binding)

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        return self._inner.match(keys, message)

    def delay(self, message: Message) -> int:
        delay = delay_of(message.headers)
        return delay if 0 < delay <= LONGEST else 0


def delay_of(headers: dict[str, Any] | None) -> int:
    """Milliseconds in the ``x-delay`` header; 0 without.

    Raises InternalError for text that is no number: the plugin falls over.
    """
    value = (headers or {}).get(HEADER)
    if isinstance(value, bool):
        return 0
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise InternalError from None
    return int(value) if isinstance(value, (int, Decimal)) else 0

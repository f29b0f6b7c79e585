"""The headers exchange: bindings match by header values.

Owns: the meaning of ``x-match`` and an index of bindings by the values they ask for.
Must not know: as ``base``.

RabbitMQ compares values, not types (``PV == DV`` on Erlang terms): see ``terms``. A void value in
a binding asks for the header's presence only. Headers whose name starts with ``x-`` take part only
in ``all-with-x`` and ``any-with-x``; ``x-match`` itself never does.

A message costs a look-up per header, whatever the number of bindings: a binding that needs all
its values is filed under one of them (the rarest so far), one that needs any under each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from haypile.broker import terms
from haypile.broker.errors import PreconditionFailed
from haypile.broker.exchanges.base import Headers, Message, Router
from haypile.broker.rows import Binding, Destination

_MODES = {
    b"all": (True, False),
    b"any": (False, False),
    b"all-with-x": (True, True),
    b"any-with-x": (False, True),
}

#: A header's name and the value asked for; PRESENT for a void.
Wanted = tuple[str, Any]


class _Present:
    """The value of a header that only has to be there."""


PRESENT = _Present()


class Pattern:
    """A binding, read."""

    __slots__ = ("destination", "filed", "need_all", "wanted")

    def __init__(self, binding: Binding) -> None:
        mode = terms.term(binding.arguments.get("x-match"))
        self.need_all, with_x = _MODES.get(mode, (True, False)) if isinstance(mode, bytes) else (True, False)
        self.destination = binding.destination
        self.wanted: list[Wanted] = [
            (name, PRESENT if value is None else terms.term(value))
            for name, value in binding.arguments.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        ]
        #: Where it is filed in the index.
        self.filed: list[Wanted] = []


class HeadersExchange(Router):
    """``headers``."""

    type = "headers"
    by_key = False

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self._patterns: dict[bytes, Pattern] = {}
        self._index: dict[Wanted, dict[bytes, Pattern]] = {}
        #: Bindings that ask for nothing: with "all" they match always.
        self._always: dict[bytes, Pattern] = {}

    @classmethod
    def check_binding(cls, key: str, arguments: Headers) -> None:
        if "x-match" not in arguments:
            return
        value = arguments["x-match"]
        kind, shown = terms.type_name(value), terms.term(value)
        if kind != "longstr":
            raise PreconditionFailed(f"Invalid x-match field type {kind} (value {terms.show(shown)}); expected longstr")
        if shown not in _MODES:
            raise PreconditionFailed(
                f"Invalid x-match field value {terms.show(shown)}; expected all, any, all-with-x, or any-with-x"
            )

    def add(self, binding: Binding) -> None:
        pattern = self._patterns[binding.id] = Pattern(binding)
        if not pattern.need_all:
            pattern.filed = pattern.wanted
        elif pattern.wanted:
            pattern.filed = [min(pattern.wanted, key=lambda wanted: len(self._index.get(wanted, ())))]
        else:
            self._always[binding.id] = pattern
        for wanted in pattern.filed:
            self._index.setdefault(wanted, {})[binding.id] = pattern

    def remove(self, binding: Binding) -> None:
        pattern = self._patterns.pop(binding.id, None)
        if pattern is None:
            return
        self._always.pop(binding.id, None)
        for wanted in pattern.filed:
            filed = self._index[wanted]
            filed.pop(binding.id, None)
            if not filed:
                del self._index[wanted]

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        found = [pattern.destination for pattern in self._always.values()]
        headers = message.headers
        if not headers or not self._index:
            return found
        index = self._index
        values: dict[str, Any] = {name: terms.term(value) for name, value in headers.items()}
        for name, value in values.items():
            for wanted in ((name, value), (name, PRESENT)):
                for pattern in index.get(wanted, _NONE).values():
                    if not pattern.need_all or _all_match(pattern, values):
                        found.append(pattern.destination)
        return found


def _all_match(pattern: Pattern, values: dict[str, Any]) -> bool:
    return all(name in values and (value is PRESENT or values[name] == value) for name, value in pattern.wanted)


_NONE: dict[bytes, Pattern] = {}

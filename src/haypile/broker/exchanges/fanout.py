"""The fanout exchange: every binding matches.

Owns and must not know: as ``base``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haypile.broker.exchanges.base import Headers, Message, Router
from haypile.broker.rows import Binding, Destination


class Fanout(Router):
    """``fanout``."""

    type = "fanout"

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self._bound: dict[bytes, Destination] = {}

    def add(self, binding: Binding) -> None:
        self._bound[binding.id] = binding.destination

    def remove(self, binding: Binding) -> None:
        self._bound.pop(binding.id, None)

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        return self._bound.values()

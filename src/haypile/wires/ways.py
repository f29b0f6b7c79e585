"""The short ways that a channel knows: calls that go from pika's channel straight to the broker.

Owns: where they are kept, when one is looked for, and when all are forgotten.
Must not know: pika's private names (``seam``), where a way leads (``broker.express``).

Invariant: a channel that is not open, or whose connection is not, knows none: whoever has one in hand need not look at
their states. Whether its session still lasts, a way looks for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: So many publishes go the long way before a short one is looked for.
WAY_EVERY = 8
#: Short ways that a channel keeps; beyond it they start anew.
WAYS = 1024
#: Stands where exchange and routing key do, for the way of acks.
ACKS = ("ack",)


class ShortWays:
    """A mixin of channels that have a wire."""

    wire: Any
    #: By exchange and routing key; a blocking channel and the one under it share them.
    ways: dict[tuple[str, ...], Callable[..., bool | None]]
    #: Messages that took the long way.
    publishes = 0
    #: It has ``take_deliveries``, for several at once.
    takes_deliveries = False
    take_deliveries: Callable[..., None]

    def learn_way(self, number: int, exchange: str, routing_key: str) -> None:
        """A message went the long way on channel ``number``: now and then the short one is looked for."""
        self.publishes += 1
        if not self.publishes % WAY_EVERY:
            self.keep_way((exchange, routing_key), self.wire.way(number, exchange, routing_key))

    def learn_acks(self, number: int) -> Callable[..., bool | None]:
        """The short way of acks on channel ``number``; one that leads nowhere where there is none."""
        found: Callable[..., bool | None] = self.wire.way(number) or no_way
        self.keep_way(ACKS, found)
        return found

    def keep_way(self, name: tuple[str, ...], way: Callable[..., bool | None] | None) -> None:
        """Know ``way`` from now on."""
        if way is not None:
            if len(self.ways) >= WAYS:
                self.ways.clear()
            self.ways[name] = way


def no_way(tag: int) -> bool:
    """The way of acks where there is none."""
    return False

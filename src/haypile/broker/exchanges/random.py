"""The random exchange: each message goes to one of the bindings, by chance.

Owns and must not know: as ``base``.

https://github.com/rabbitmq/rabbitmq-server/tree/v3.10.8/deps/rabbitmq_random_exchange
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haypile.broker.exchanges.base import Message
from haypile.broker.exchanges.fanout import Fanout
from haypile.broker.rows import Destination


class Random(Fanout):
    """``x-random``: a destination bound twice is twice as likely."""

    type = "x-random"
    by_key = False

    def match(self, keys: Sequence[str], message: Message) -> Iterable[Destination]:
        import random  # noqa: PLC0415 - large, and nothing else here needs it

        bound = list(self._bound.values())
        return (random.choice(bound),) if bound else ()

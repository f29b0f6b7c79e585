"""The recent history exchange: a fanout that hands new bindings the last messages.

Owns: its arguments. Must not know: as ``base``; the messages are kept by the broker (``history``
says how many).

https://github.com/rabbitmq/rabbitmq-server/tree/v3.10.8/deps/rabbitmq_recent_history_exchange
"""

from __future__ import annotations

from haypile.broker.errors import PreconditionFailed
from haypile.broker.exchanges.base import Headers
from haypile.broker.exchanges.fanout import Fanout
from haypile.broker.terms import show, term, type_name

LENGTH = "x-recent-history-length"
#: Messages kept where the exchange does not say.
DEFAULT = 20


class RecentHistory(Fanout):
    """``x-recent-history``."""

    type = "x-recent-history"

    def __init__(self, arguments: Headers) -> None:
        super().__init__(arguments)
        self.history = arguments.get(LENGTH, DEFAULT)

    @classmethod
    def check_exchange(cls, name: str, arguments: Headers) -> None:
        if LENGTH not in arguments:
            return
        value = arguments[LENGTH]
        if type_name(value) not in ("signedint", "long") or value <= 0:
            raise PreconditionFailed(f"Invalid argument {show(term(value))}, '{LENGTH}' must be a positive integer")

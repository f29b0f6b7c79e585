"""What a queue may have outside its lane and the hay: nothing, unless it is somebody else's kernel queue.

Owns: the calls that the broker makes to every queue for the sake of those (``foreign``).
Must not know: how they are carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika.spec import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haypile.broker.ports import Content
    from haypile.broker.source import Source
    from haypile.broker.taken import Fresh, Taken


class Elsewhere:
    """A queue all of whose messages are ours."""

    __slots__ = ()

    def send(self, properties: BasicProperties | None, body: bytes, patience: float) -> bool:
        """Put a message into somebody else's kernel queue, once; False when it is full."""
        raise NotImplementedError

    def was_sent(self) -> bool:
        """Whether the message being published is there already."""
        return False

    def deliveries(self, consumer: str, last: int, messages: Sequence[Fresh]) -> list[Content]:
        """Deliveries of what ``take`` took and is not to go back, after the delivery tag ``last``."""
        raise NotImplementedError

    def take(self, taker: Source, budget: int, no_ack: bool) -> Sequence[Taken | Fresh]:
        """``Source.take`` from there."""
        raise NotImplementedError

    def get(self, no_ack: bool) -> Taken | None:
        """``Source.get`` from there."""
        raise NotImplementedError

    def forward(self) -> bool:
        """Send on what waits for room there; whether that was all."""
        return True

    def declare(self) -> None:
        """queue.declare names it: it must be there. Raises AMQPError."""

    def outside(self) -> int:
        """Messages there."""
        return 0

    def purge_outside(self) -> int:
        """Take away the messages there; how many they were."""
        return 0

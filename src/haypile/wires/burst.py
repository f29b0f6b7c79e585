"""Sending in bursts: what one turn of the loop sends to a RabbitMQ goes to the socket together.

Owns: what was sent and is not yet with pika's transport.
Must not know: AMQP. For connections that send much and wait for no single reply, as a link's.

pika gives the transport each frame by itself, three for a message, and the transport makes a system call of each.

Invariant: bytes reach the transport in the order in which they were sent, and all of them before the loop sleeps.
"""

from __future__ import annotations

from typing import Any

from haypile.wires.seam import Seam

#: Bytes after which a burst goes to the transport, while the turn goes on.
BURST = 65_536


class Burst(Seam):
    """A mixin in front of a connection class over a ``Seam``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See pika."""
        self._held: list[bytes] = []
        self._size = 0
        super().__init__(*args, **kwargs)

    def emit(self, data: bytes) -> None:
        """See ``Seam``."""
        held = self._held
        if not held:
            self.call_soon(self.flush)
        held.append(data)
        self._size += len(data)
        if self._size >= BURST:
            super().emit(b"".join(held))
            # Not empty: the call above is under way.
            held[:] = [b""]
            self._size = 0

    def flush(self) -> None:
        """Give the transport what is held."""
        held, self._held, self._size = self._held, [], 0
        # What a lost connection held is lost with it, as what its transport holds.
        if (data := b"".join(held)) and not self.is_closed:
            super().emit(data)

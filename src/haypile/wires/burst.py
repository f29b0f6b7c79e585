"""Sending in bursts: what one turn of the loop sends to a RabbitMQ goes to the socket together.

Owns: what was sent and is not yet with pika's transport, and the frames of a publish.
Must not know: who publishes. For connections that send much and wait for no single reply, as a link's.

pika gives the transport each frame by itself, three for a message, and the transport makes a system call of each.
A link's messages mostly go to one exchange with few keys: their first frames are encoded once.

Invariant: bytes reach the transport in the order in which they were sent, and all of them before the loop sleeps.
"""

from __future__ import annotations

import struct
from typing import Any

from pika import frame, spec

from haypile.wires.seam.connection import Seam

#: Bytes after which a burst goes to the transport, while the turn goes on.
BURST = 65_536
#: Encoded first frames that are kept.
KEPT = 1000
_pack_frame = struct.Struct(">BHI").pack
_END = bytes((spec.FRAME_END,))


class Burst(Seam):
    """A mixin in front of a connection class over a ``Seam``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See pika."""
        self._held: list[bytes] = []
        self._size = 0
        self._first: dict[tuple[int, str, str], bytes] = {}
        super().__init__(*args, **kwargs)

    def publish(self, channel: Any, exchange: str, routing_key: str, properties: Any, body: bytes) -> bool:
        """Send a mandatory message on ``channel``; False for one that has to be sent by the channel itself."""
        # A frame has 8 bytes of its own.
        if self.wire is not None or not 0 < len(body) <= self.params.frame_max - 8 or not channel.is_open:
            return False
        number = channel.channel_number
        key = (number, exchange, routing_key)
        first = self._first.get(key)
        if first is None:
            if len(self._first) >= KEPT:
                self._first.clear()
            method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
            first = self._first[key] = frame.Method(number, method).marshal()
        header = frame.Header(number, len(body), properties).marshal()
        data = b"".join((first, header, _pack_frame(spec.FRAME_BODY, number, len(body)), body, _END))
        # pika's own counts.
        self.bytes_sent += len(data)
        self.frames_sent += 3
        self.emit(data)
        return True

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

"""Every private name of pika that haypile touches.

Owns: the cut through pika, right above its frames: four methods of ``pika.connection.Connection``
overridden, the rest called. Names and signatures are checked by ``tests/wires/test_seam.py``
against the installed pika, so that a new release breaks this file and that test, loudly.
Must not know: AMQP's meaning, the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pika.connection
from pika import exceptions, frame

if TYPE_CHECKING:
    from haypile.wires.local import LocalWire

_Method = frame.Method
_Header = frame.Header
_Body = frame.Body

#: Private names of ``pika.connection.Connection`` that this module overrides or calls.
CONNECTION_NAMES = {
    "_adapter_connect_stream": ("self",),
    "_adapter_disconnect_stream": ("self",),
    "_adapter_emit_data": ("self", "data"),
    "_send_method": ("self", "channel_number", "method", "content"),
    "_adapter_add_callback_threadsafe": ("self", "callback"),
    "_adapter_call_later": ("self", "delay", "callback"),
    "_adapter_remove_timeout": ("self", "timeout_id"),
    "_on_stream_connected": ("self",),
    "_on_stream_terminated": ("self", "error"),
    "_process_frame": ("self", "frame_value"),
}
#: Private names of ``pika.channel.Channel``.
CHANNEL_NAMES = {"_on_deliver": ("self", "method_frame", "header_frame", "body")}


class Seam(pika.connection.Connection):  # type: ignore[misc]
    """A mixin in front of a pika connection class: a wire where the socket stood, if it has one.

    ``wire`` is None for a connection that goes to a RabbitMQ: then all is pika's own.
    """

    wire: LocalWire | None = None

    # -- pika calls these -------------------------------------------------------------------

    def _adapter_connect_stream(self) -> None:
        if self.wire is None:
            super()._adapter_connect_stream()
        else:
            self.wire.connect()

    def _adapter_disconnect_stream(self) -> None:
        if self.wire is None:
            super()._adapter_disconnect_stream()
        else:
            self.wire.disconnect()

    def _adapter_emit_data(self, data: bytes) -> None:
        if self.wire is None:
            super()._adapter_emit_data(data)
        else:
            self.wire.emitted(data)

    def _send_method(self, channel_number: int, method: Any, content: Any = None) -> None:
        wire = self.wire
        if wire is None:
            super()._send_method(channel_number, method, content)
            return
        if self.is_closed:
            raise exceptions.ConnectionWrongStateError("Attempted to send a frame on closed connection.")
        wire.send(channel_number, method, content)

    # -- the wire calls these ---------------------------------------------------------------

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have the loop call ``callback`` (from any thread)."""
        self._adapter_add_callback_threadsafe(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Have the loop call ``callback`` in ``delay`` seconds; returns what ``cancel`` takes."""
        return self._adapter_call_later(delay, callback)

    def cancel(self, timer: Any) -> None:
        """Undo ``call_later``."""
        self._adapter_remove_timeout(timer)

    def stream_connected(self) -> None:
        """The wire is up: pika starts the AMQP handshake."""
        self._on_stream_connected()

    def stream_terminated(self, error: Exception | None) -> None:
        """The wire is down; None: pika knows why."""
        self._on_stream_terminated(error)

    def receive_method(self, number: int, method: Any) -> None:
        """Hand a method to pika."""
        self._process_frame(_Method(number, method))

    def receive_content(self, number: int, method: Any, properties: Any, body: bytes) -> None:
        """Hand a method with content to pika."""
        self._process_frame(_Method(number, method))
        self._process_frame(_Header(number, len(body), properties))
        if body:
            self._process_frame(_Body(number, body))

    def receive_delivery(self, number: int, method: Any, properties: Any, body: bytes) -> None:
        """Hand Basic.Deliver to pika: one call instead of three frames."""
        channel = self._channels.get(number)
        if channel is not None:
            channel._on_deliver(_Method(number, method), _Header(number, len(body), properties), body)

    def heartbeat(self) -> None:
        """Answer a heartbeat: pika looks at the number of bytes that came."""
        self.bytes_received += 8


def turn_loop(connection: Any) -> None:
    """One turn of pika's select loop: wait for a descriptor, a timer or a callback."""
    connection.ioloop.poll()
    connection.ioloop.process_timeouts()

"""pika's Connection and Channel over a wire.

Owns: the cut itself, and the calls of a channel that go straight to the wire.
Must not know: loops (``loops``), how a connection begins (``workflow``), blocking calls (``blocking``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pika.connection
from pika import exceptions, frame, spec

from haypile.wires.ways import ACKS, ShortWays
from haypile.wires.wire import Wire

_Method, _Header, _Body = frame.Method, frame.Header, frame.Body
_Publish = spec.Basic.Publish
_Properties = spec.BasicProperties

#: States by the names that pika's own code uses.
CLOSED = pika.connection.Connection.CONNECTION_CLOSED
OPEN = pika.connection.Connection.CONNECTION_OPEN
CHANNEL_OPEN = pika.channel.Channel.OPEN


class Seam(pika.connection.Connection):  # type: ignore[misc]
    """A mixin in front of a pika connection class: a wire where the socket stood, if it has one.

    ``wire`` is None for a connection that goes to a RabbitMQ: then all is pika's own.
    """

    wire: Wire | None = None

    # -- pika calls these -------------------------------------------------------------------

    def _adapter_connect_stream(self) -> None:
        if self.wire is None:
            super()._adapter_connect_stream()
        else:
            self.wire.connect(self.params.stack_timeout)

    def _adapter_disconnect_stream(self) -> None:
        if self.wire is None:
            super()._adapter_disconnect_stream()
        else:
            self.wire.disconnect()

    def _adapter_emit_data(self, data: bytes) -> None:
        if self.wire is None:
            self.emit(data)
        else:
            self.wire.emitted(data)

    def _send_method(self, channel_number: int, method: Any, content: Any = None) -> None:
        wire = self.wire
        if wire is None:
            super()._send_method(channel_number, method, content)
            return
        if self.connection_state == CLOSED:
            pika.connection.LOGGER.error("Attempted to send frame when closed")
            raise exceptions.ConnectionWrongStateError("Attempted to send a frame on closed connection.")
        wire.send(channel_number, method, content)

    def channel(
        self, channel_number: int | None = None, on_open_callback: Callable[[pika.channel.Channel], Any] | None = None
    ) -> pika.channel.Channel:
        """See pika."""
        channel: Any = super().channel(channel_number, on_open_callback)
        if self.wire is not None and type(channel) is pika.channel.Channel:
            channel.__class__ = WiredChannel
            channel.wire = self.wire
            channel.ways = {}
        return channel

    def _set_connection_state(self, connection_state: int) -> None:
        super()._set_connection_state(connection_state)
        if self.wire is not None and connection_state != OPEN:
            for channel in (self._channels or {}).values():
                getattr(channel, "ways", {}).clear()

    def emit(self, data: bytes) -> None:
        """Bytes for a RabbitMQ."""
        super()._adapter_emit_data(data)

    # -- the wire calls these ---------------------------------------------------------------

    def connect(self) -> None:
        """Have the wire come up, where pika's adapter does not do it by itself, and sees to the time."""
        assert self.wire is not None
        self.wire.connect()

    def disconnect(self) -> None:
        """Take the wire down."""
        self._adapter_disconnect_stream()

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
        if channel is None:
            return
        tag = method.consumer_tag
        consumer = channel._consumers.get(tag)
        if consumer is None or tag in channel._cancelled:
            channel._on_deliver(_Method(number, method), _Header(number, len(body), properties), body)
        else:
            consumer(channel, method, properties, body)

    def receive_deliveries(self, number: int, batch: Sequence[tuple[Any, Any, bytes]]) -> None:
        """Hand several Basic.Deliver for one consumer to pika."""
        channel = self._channels.get(number)
        if channel is None:
            return
        consumer_tag = batch[0][0].consumer_tag
        blocking = getattr(channel._consumers.get(consumer_tag), "__self__", None)
        if isinstance(blocking, ShortWays) and blocking.takes_deliveries and consumer_tag not in channel._cancelled:
            blocking.take_deliveries(consumer_tag, batch)
            return
        for method, properties, body in batch:
            self.receive_delivery(number, method, properties, body)

    def heartbeat(self) -> None:
        """Answer a heartbeat: pika looks at the number of bytes that came."""
        self.bytes_received += 8


class WiredChannel(ShortWays, pika.channel.Channel):  # type: ignore[misc]
    """pika's Channel, publishing straight to the wire."""

    wire: Wire

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: spec.BasicProperties | None = None,
        mandatory: bool = False,
    ) -> None:
        """See pika."""
        plain = not mandatory and body.__class__ is bytes and exchange.__class__ is str and routing_key.__class__ is str
        if plain and (properties is None or properties.__class__ is _Properties):
            way = self.ways.get((exchange, routing_key))
            if way is not None:
                try:
                    sent = way(body, properties)
                except self.wire.failures as error:
                    self.wire.fail(error)
                    return
                if sent:
                    return
                if sent is False:
                    self.ways.pop((exchange, routing_key), None)
        if body.__class__ is not bytes or self._state != CHANNEL_OPEN or self.connection.connection_state != OPEN:
            super().basic_publish(exchange, routing_key, body, properties, mandatory)
            return
        self.wire.publish(
            self.channel_number,
            _Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory),
            properties or spec.BasicProperties(),
            body,
        )
        if plain:
            self.learn_way(self.channel_number, exchange, routing_key)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """See pika."""
        if not multiple and delivery_tag.__class__ is int:
            way = self.ways.get(ACKS)
            if way is None and self._state == CHANNEL_OPEN and self.connection.connection_state == OPEN:
                way = self.learn_acks(self.channel_number)
            try:
                if way is not None and way(delivery_tag):
                    return
            except self.wire.failures as error:
                self.wire.fail(error)
                return
        super().basic_ack(delivery_tag, multiple)

    def _set_state(self, connection_state: int) -> None:
        super()._set_state(connection_state)
        self.ways.clear()


# Its name stands in texts of pika's.
WiredChannel.__name__ = "Channel"

"""pika's BlockingConnection and BlockingChannel over a wire that has replies at once.

Owns: the wait of every blocking call, and the calls that programs make for every message.
Must not know: how a wire waits (``eager``), what a short way does (``broker.express``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pika.connection
from pika import exceptions, spec, validators
from pika.adapters import blocking_connection

from haypile.wires.seam.connection import CHANNEL_OPEN, CLOSED, OPEN, WiredChannel
from haypile.wires.seam.loops import Loop, open_here
from haypile.wires.ways import ACKS, ShortWays, no_way
from haypile.wires.wire import BlockingWire

_Publish = spec.Basic.Publish
_Properties = spec.BasicProperties
_Ack = spec.Basic.Ack
_Nack = spec.Basic.Nack
_Get = spec.Basic.Get
_GetOk = spec.Basic.GetOk
_Delivery = blocking_connection._ConsumerDeliveryEvt
_Cancellation = blocking_connection._ConsumerCancellationEvt
_GET_REPLIES = (_GetOk, spec.Basic.GetEmpty)

#: pika's own, whose messages these are.
_LOGGER: logging.Logger = blocking_connection.LOGGER


class BlockingSeam(blocking_connection.BlockingConnection):  # type: ignore[misc]
    """pika's BlockingConnection, waiting without a detour through the select loop.

    pika's ``_flush_output`` is where every blocking call waits. Over a wire there is nothing to flush, and
    replies are mostly there already: they are handed to pika at once, and only a wait for something that
    is not there goes to sleep in the loop.
    """

    def here(self, parameters: Any, kind: Any) -> Callable[..., Any] | None:
        """What makes a connection of ``kind`` where ``parameters`` lead, if that is this host."""
        raise NotImplementedError

    def _create_connection(self, configs: Any = None, impl_class: Any = None) -> Any:
        # pika's workflow tries several parameters and addresses, several times.
        parameters = pika.connection.Parameters() if configs is None else configs
        make = None
        if isinstance(parameters, pika.connection.Parameters) and parameters.connection_attempts == 1:
            make = self.here(parameters, impl_class)
        if make is None:
            return super()._create_connection(parameters, impl_class)
        loop = Loop()
        loop.activate_poller()
        try:
            return open_here(make, loop, parameters.stack_timeout)
        except Exception:
            _LOGGER.exception("Error in _create_connection().")
            loop.close()
            self._cleanup()
            raise

    def process_data_events(self, time_limit: float | None = 0) -> None:
        """See pika."""
        impl = self._impl
        wire: BlockingWire | None = getattr(impl, "wire", None)
        if time_limit is not None or wire is None:
            super().process_data_events(time_limit)
            return
        self._event_dispatch_suspend_depth += 1
        try:
            if self._event_dispatch_suspend_depth > 1:
                self._flush_output(_never)
            elif self._channels_pending_dispatch or self._ready_events or impl.connection_state != OPEN:
                self._flush_output(self._has_events)
            elif wire.wait():
                pass
            elif self._closed_result.ready:
                self._on_closed()
            else:
                self._flush_output(self._has_events)
        finally:
            self._event_dispatch_suspend_depth -= 1
        if self._ready_events:
            self._dispatch_connection_events()
        if self._channels_pending_dispatch:
            self._dispatch_channel_events()

    def _dispatch_channel_events(self) -> None:
        if self._event_dispatch_suspend_depth:
            return
        self._event_dispatch_suspend_depth += 1
        numbers = list(self._channels_pending_dispatch)
        self._channels_pending_dispatch.clear()
        try:
            # A negative number is no channel's: it only ends a wait.
            for channel in map(self._impl._channels.get, numbers):
                if channel is not None and channel._state == CHANNEL_OPEN:
                    channel._cookie._dispatch_events()
        finally:
            self._event_dispatch_suspend_depth -= 1

    def _has_events(self) -> bool:
        return bool(self._channels_pending_dispatch or self._ready_events)

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        impl = self._impl
        wire: BlockingWire | None = getattr(impl, "wire", None)
        if wire is None:
            super()._flush_output(*waiters)
            return
        if impl.connection_state == CLOSED:
            raise exceptions.ConnectionWrongStateError()
        closed = self._closed_result
        inbox = wire.inbox
        if wire.stale:
            wire.catch_up()
        # What is ready already is not waited for, as in pika.
        while waiters and not closed.ready and not _some(waiters):
            if not inbox:
                wire.before_sleep()
                if not inbox:
                    if _some(waiters):
                        wire.breathe()
                        break
                    if wire.restless:
                        wire.look()
                    else:
                        wire.sleep()
            wire.turn()
        while wire.congested and not closed.ready:
            # A publish waits for room: so does the program, while what is delivered goes on.
            wire.rest()
            wire.turn()
        while wire.ending and not closed.ready:
            wire.rest()
        wire.stale = len(inbox)
        if closed.ready:
            self._on_closed()

    def _on_closed(self) -> None:
        """The connection ended while somebody waited: as pika reports it."""
        result = self._closed_result.value
        try:
            if not isinstance(result.error, exceptions.ConnectionClosedByClient):
                _LOGGER.error("Unexpected connection close detected: %r", result.error)
                raise result.error
            _LOGGER.info("User-initiated close: result=%r", result)
        finally:
            self._cleanup()

    def channel(self, channel_number: int | None = None) -> blocking_connection.BlockingChannel:
        """See pika."""
        channel: Any = super().channel(channel_number)
        impl: Any = channel._impl
        # Short ways are forgotten by the channel under it (``WiredChannel``), which a program may have made its own.
        if type(channel) is blocking_connection.BlockingChannel and type(impl) is WiredChannel:
            channel.__class__ = QuickChannel
            channel.wire, channel.ways = impl.wire, impl.ways
        return channel


class QuickChannel(ShortWays, blocking_connection.BlockingChannel):  # type: ignore[misc]
    """pika's BlockingChannel with the calls that programs make for every message cut short."""

    wire: BlockingWire
    takes_deliveries = True
    _pending_events: deque[Any]

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
                wire = self.wire
                try:
                    sent = way(body, properties)
                except wire.failures as error:
                    wire.fail(error)
                    sent = True
                if sent:
                    if self._delivery_confirmation:
                        self._confirm(exchange, routing_key, mandatory)
                    elif wire.inbox or wire.ending:
                        self._flush_output()
                    return
                if sent is False:
                    self.ways.pop((exchange, routing_key), None)
        impl, wire = self._impl, self.wire
        if impl._state != CHANNEL_OPEN or impl.connection.connection_state != OPEN or body.__class__ is not bytes:
            super().basic_publish(exchange, routing_key, body, properties, mandatory)
            return
        wire.publish(
            impl.channel_number,
            _Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory),
            properties or spec.BasicProperties(),
            body,
        )
        if self._delivery_confirmation:
            self._confirm(exchange, routing_key, mandatory)
        elif wire.inbox or wire.ending:
            self._flush_output()
            return
        if plain:
            self.learn_way(impl.channel_number, exchange, routing_key)

    def _confirm(self, exchange: str, routing_key: str, mandatory: bool) -> None:
        """Wait until what was just published is confirmed, as pika's ``basic_publish`` does."""
        if self.wire.acknowledged(self._impl.channel_number):
            return
        if self.connection._closed_result.ready:
            self.connection._on_closed()
        with self._message_confirmation_result as result:
            self._flush_output(result.is_ready)
            reply = result.value.method_frame.method
            returned = [] if self._puback_return is None else [self._puback_return]
            self._puback_return: Any = None
            if isinstance(reply, _Nack):
                _LOGGER.warning(
                    "Message was Nack'ed by broker: nack=%r; channel=%s; exchange=%s; routing_key=%s; mandatory=%r; ",
                    reply,
                    self.channel_number,
                    exchange,
                    routing_key,
                    mandatory,
                )
                raise exceptions.NackError(returned)
            if returned:
                raise exceptions.UnroutableError(returned)

    def take_deliveries(self, consumer_tag: str, batch: Sequence[tuple[Any, Any, bytes]]) -> None:
        """What pika's ``_on_consumer_message_delivery`` does for each of ``batch``, for all of it.

        A pending delivery is a plain tuple: pika's event around it costs as much as the callback.
        """
        sink = self._consumer_infos[consumer_tag].alternate_event_sink
        if sink is None:
            self._pending_events.extend(batch)
            self._connection._channels_pending_dispatch.add(self._impl.channel_number)
            return
        for one in batch:
            sink(_Delivery(*one))

    def _process_data_events(self, time_limit: float | None) -> None:
        self._connection.process_data_events(time_limit=time_limit)
        broken = self._impl._state != CHANNEL_OPEN and self.is_closed
        if broken and isinstance(self._closing_reason, exceptions.ChannelClosedByBroker):
            raise self._closing_reason

    def _dispatch_events(self) -> None:
        consumers = self._consumer_infos
        # A callback may put another deque there (``_remove_pending_deliveries``).
        while self._pending_events:
            event = self._pending_events.popleft()
            if event.__class__ is tuple:
                method, properties, body = event
                consumers[method.consumer_tag].on_message_callback(self, method, properties, body)
            elif event.__class__ is _Delivery:
                method = event.method
                consumers[method.consumer_tag].on_message_callback(self, method, event.properties, event.body)
            elif event.__class__ is _Cancellation:
                frame_of_it = event.method_frame
                del consumers[frame_of_it.method.consumer_tag]
                self._impl.callbacks.process(
                    self.channel_number, self._CONSUMER_CANCELLED_CB_KEY, self, frame_of_it
                )
            else:
                event.dispatch()

    def _remove_pending_deliveries(self, consumer_tag: str) -> list[Any]:
        self._pending_events = deque(
            _Delivery(*event) if event.__class__ is tuple else event for event in self._pending_events
        )
        removed: list[Any] = super()._remove_pending_deliveries(consumer_tag)
        return removed

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """See pika."""
        wire = self.wire
        alone = not multiple and delivery_tag.__class__ is int
        way = self.ways.get(ACKS) if alone else None
        if way is None:
            impl = self._impl
            if impl._state != CHANNEL_OPEN or impl.connection.connection_state != OPEN:
                super().basic_ack(delivery_tag, multiple)
                return
            way = self.learn_acks(impl.channel_number) if alone else no_way
        try:
            if not way(delivery_tag):
                wire.send(self._impl.channel_number, _Ack(delivery_tag, multiple), None)
        except wire.failures as error:
            wire.fail(error)
        if wire.inbox or wire.ending:
            self._flush_output()

    def basic_get(self, queue: str, auto_ack: bool = False) -> tuple[Any, Any, Any]:
        """See pika."""
        impl, wire = self._impl, self.wire
        if impl._state != CHANNEL_OPEN or impl.connection.connection_state != OPEN or not wire.prompt:
            got: tuple[Any, Any, Any] = super().basic_get(queue, auto_ack)
            return got
        validators.require_string(queue, "queue")
        number = impl.channel_number
        wire.send(number, _Get(queue=queue, no_ack=auto_ack), None)
        inbox = wire.inbox
        if inbox:
            # The reply is the last that was put there; deliveries before it wait for their turn.
            channel, reply, properties, body = inbox[-1]
            if channel == number and reply.__class__ in _GET_REPLIES:
                inbox.pop()
                return (reply, properties, body) if reply.__class__ is _GetOk else (None, None, None)
        # No reply: the channel or the connection ends.
        self._flush_output(_never)
        raise AssertionError("wait completed without GetOk and GetEmpty")


# Its name stands in texts of pika's.
QuickChannel.__name__ = "BlockingChannel"


def _never() -> bool:
    return False


def _some(waiters: tuple[Callable[[], bool], ...]) -> bool:
    """Whether one of ``waiters`` is ready."""
    for ready in waiters:  # noqa: SIM110 (any() over a generator costs three times as much)
        if ready():
            return True
    return False

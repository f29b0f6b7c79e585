"""Every private name of pika that haypile touches.

Owns: the cut through pika, right above its frames (four methods of ``pika.connection.Connection`` are
overridden, the rest is called), and pika's blocking calls where they can do without its callbacks.
``tests/wires/test_seam.py`` checks each name (``private``) and its signature against the installed pika, so that a
new release breaks this file and that test, loudly. pika 1.3.2 and 1.4 are alike in all of them.
Must not know: AMQP's meaning, the broker.

What is overridden for speed does what pika's own code does, step by step; whatever is not the plain case
goes to pika's code.
"""

from __future__ import annotations

import copy
import logging
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pika.connection
from pika import exceptions, frame, spec, validators
from pika.adapters import asyncio_connection, base_connection, blocking_connection, select_connection
from pika.adapters.utils import connection_workflow

from haypile.wires.ways import ACKS, ShortWays, no_way
from haypile.wires.wire import BlockingWire, Wire

_Method, _Header, _Body = frame.Method, frame.Header, frame.Body
_Publish = spec.Basic.Publish
_Properties = spec.BasicProperties
_Ack = spec.Basic.Ack
_Nack = spec.Basic.Nack
_Get = spec.Basic.Get
_GetOk = spec.Basic.GetOk
_Delivery = blocking_connection._ConsumerDeliveryEvt
_Cancellation = blocking_connection._ConsumerCancellationEvt
_GET_REPLIES = (_GetOk, spec.Basic.GetEmpty)

#: Logger and states by the names that pika's own code uses.
_LOGGER: logging.Logger = blocking_connection.LOGGER
_CLOSED = pika.connection.Connection.CONNECTION_CLOSED
_OPEN = pika.connection.Connection.CONNECTION_OPEN
_CHANNEL_OPEN = pika.channel.Channel.OPEN

#: What epoll is asked for by ``watch_in_turn``; 0: it cannot be.
_IN_TURN = select.EPOLLIN | select.EPOLLEXCLUSIVE if hasattr(select, "EPOLLEXCLUSIVE") else 0


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
        if self.connection_state == _CLOSED:
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
        if self.wire is not None and connection_state != _OPEN:
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
        if blocking.__class__ is QuickChannel and consumer_tag not in channel._cancelled:
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
        if body.__class__ is not bytes or self._state != _CHANNEL_OPEN or self.connection.connection_state != _OPEN:
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
            if way is None and self._state == _CHANNEL_OPEN and self.connection.connection_state == _OPEN:
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


class Here(str):
    """The host in parameters that lead to this one: pika's own workflow needs no address of it."""


class Services:
    """pika's ``AbstractIOServices``, which know where ``Here`` is without asking."""

    #: What stands in pika's log for an address.
    ADDRESS = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "")

    def __init__(self, services: Any) -> None:
        self._services = services

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services, name)

    def getaddrinfo(self, host: str, port: int, on_done: Callable[[Any], None], **options: Any) -> Any:
        """See pika."""
        if isinstance(host, Here):
            return self._services.call_later(0, lambda: on_done([self.ADDRESS]))
        return self._services.getaddrinfo(host=host, port=port, on_done=on_done, **options)


class Connector(connection_workflow.AMQPConnector):  # type: ignore[misc]
    """pika's connector: one attempt, within its time. ``Here`` it needs no socket."""

    _state: int

    def start(self, addr_record: Any, conn_params: Any, on_done: Callable[[Any], None]) -> None:
        """See pika."""
        if not isinstance(conn_params.host, Here):
            super().start(addr_record, conn_params, on_done)
            return
        if self._state != self._STATE_INIT:
            raise connection_workflow.AMQPConnectorWrongState(f"Already in progress or finished; state={self._state}")
        self._addr_record, self._conn_params, self._on_done = addr_record, conn_params, on_done
        self._state = self._STATE_TRANSPORT
        if conn_params.stack_timeout is not None:
            self._stack_timeout_ref = self._nbio.call_later(conn_params.stack_timeout, self._on_overall_timeout)
        self._task_ref = self._nbio.call_later(0, self.link_up)

    def link_up(self) -> None:
        """Make the connection."""
        self._task_ref = None
        try:
            connection = self._conn_factory(self._conn_params)
        except Exception as error:
            self._on_transport_establishment_done(error)
            return
        self._on_transport_establishment_done((None, connection))
        connection.connect()


def start_workflow(
    kind: Any,
    configs: Iterable[tuple[Any, bool]],
    services: Any,
    workflow: Any,
    on_done: Callable[[Any], None],
) -> Any:
    """pika's ``create_connection`` for parameters some of which lead to this host (True beside them)."""
    workflow = connection_workflow.AMQPConnectionWorkflow() if workflow is None else workflow
    known = Services(services)
    if isinstance(workflow, connection_workflow.AMQPConnectionWorkflow):
        workflow.set_io_services(known)

    def connection_of(parameters: Any) -> Any:
        connection = kind(parameters=parameters, custom_ioloop=services, internal_connection_workflow=False)
        return connection if connection.wire is not None else base_connection._StreamingProtocolShim(connection)

    def marked(parameters: Any) -> Any:
        parameters = copy.copy(parameters)
        parameters.host = Here(parameters.host)
        return parameters

    workflow.start(
        connection_configs=[marked(config) if here else config for config, here in configs],
        connector_factory=lambda: Connector(connection_of, known),
        native_loop=services.get_native_ioloop(),
        on_done=lambda result: kind._unshim_connection_workflow_callback(on_done, result),
    )
    return workflow


def raw_connection(kind: Any, on_frame: Callable[[Any], None]) -> Any:
    """A class like pika's connection class ``kind`` that leaves frames of channels to ``on_frame``."""

    def deliver(self: Any, value: Any) -> None:
        on_frame(value)

    return type(kind.__name__, (kind,), {"_deliver_frame_to_channel": deliver, "send_raw": kind._send_method})


def asyncio_services(loop: Any) -> Any:
    """pika's ``AbstractIOServices`` over an asyncio loop, or the running one."""
    return asyncio_connection._AsyncioIOServicesAdapter(loop)


def gevent_services(loop: Any) -> Any:
    """pika's ``AbstractIOServices`` over its gevent loop, or a new one on this thread's hub."""
    import gevent  # noqa: PLC0415
    from pika.adapters import gevent_connection  # noqa: PLC0415

    return gevent_connection._GeventSelectorIOServicesAdapter(
        loop or gevent_connection._GeventSelectorIOLoop(gevent.get_hub())
    )


def twisted_connection() -> Any:
    """pika's connection class under a ``TwistedProtocolConnection``."""
    from pika.adapters.twisted_connection import _TwistedConnectionAdapter  # noqa: PLC0415

    return _TwistedConnectionAdapter


def replace_twisted(protocol: Any, kind: Callable[..., Any], parameters: Any, reactor: Any) -> Any:
    """Put a connection of ``kind`` under ``protocol``, and return it. Its errors keep their words."""

    def failed(connection: Any, error: Exception) -> None:
        ready, protocol.ready = protocol.ready, None
        if ready:
            ready.errback(error)

    protocol._impl = kind(parameters, protocol._on_connection_ready, failed, protocol._on_connection_closed, reactor)
    return protocol._impl


def twisted_reactor(connection: Any) -> Any:
    """The reactor of pika's connection."""
    return connection._reactor


def turn_loop(connection: Any, block: bool = True) -> bool:
    """One turn of pika's select loop: wait for a descriptor, a timer or a callback. Whether a descriptor was ready.

    Unless ``block``, epoll is looked at and nothing else. Mostly one is ready, and only its handler is to be called.
    """
    loop = connection.ioloop
    poller = loop._poller
    if isinstance(poller, select_connection.PollPoller) and poller._poll is not None:
        events = poller._poll.poll(poller._get_max_wait() if block else 0)
        if len(events) == 1:
            fd, happened = events[0]
            handler = poller._fd_handlers.get(fd)
            if handler is not None:
                handler(fd, happened)
        elif events:
            poller._dispatch_fd_events(dict(events))
        elif not block:
            return False
    elif block:
        events = ()
        loop.poll()
    else:
        return False
    loop.process_timeouts()
    return bool(events)


class Poller(select_connection.EPollPoller):  # type: ignore[misc]
    """pika's, to be woken through a pair of sockets that needs no port and no network."""

    @staticmethod
    def _get_interrupt_pair() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for one in pair:
            one.setblocking(False)
        return pair


class Loop(select_connection.IOLoop):  # type: ignore[misc]
    """pika's select loop, under a blocking connection to this host."""

    @staticmethod
    def _get_poller(get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], None]) -> Any:
        if select_connection.SELECT_TYPE in (None, "epoll") and hasattr(select, "epoll"):
            return Poller(get_wait_seconds, process_timeouts)
        return select_connection.IOLoop._get_poller(get_wait_seconds, process_timeouts)


def open_here(make: Callable[..., Any], loop: Any, stack_timeout: float | None) -> Any:
    """The connection that ``make`` makes on ``loop``, open. Raises what pika's workflow would raise in the end."""
    outcome: list[BaseException | None] = []
    late: list[BaseException] = []
    connection = make(
        on_open_callback=lambda connection: outcome.append(None),
        on_open_error_callback=lambda connection, error: outcome.extend(late or [error]),
        custom_ioloop=loop,
        internal_connection_workflow=False,
    )

    def too_late() -> None:
        text = f"Timeout while setting up AMQP to {connection.params.host!r}"
        late.append(connection_workflow.AMQPConnectorStackTimeout(text))
        if not connection.is_closing:
            connection.close(320, text)

    limit = None if stack_timeout is None else loop.call_later(stack_timeout, too_late)
    connection.connect()
    while not outcome:
        loop.poll()
        loop.process_timeouts()
    if outcome[0] is not None:
        _LOGGER.error("Connection failed: %r", outcome[0])
        raise outcome[0]
    if limit is not None:
        loop.remove_timeout(limit)
    return connection


def watch_in_turn(loop: Any, fd: int, handler: Callable[[int, int], None]) -> None:
    """Have pika's select loop call ``handler`` whenever ``fd`` is readable; and not every loop that watches it so.

    The kernel wakes one of those that sleep, the one that called this longest ago. Loops without epoll are all woken.
    """
    poller = loop._poller
    if fd not in poller._fd_handlers:
        poller.add_handler(fd, handler, loop.READ)
    if isinstance(poller, select_connection.EPollPoller) and poller._poll is not None and _IN_TURN:
        poller._poll.unregister(fd)
        try:
            poller._poll.register(fd, _IN_TURN)
        except OSError:  # a kernel that does not know it
            poller._poll.register(fd, loop.READ)


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
            waiter = self._has_events if self._event_dispatch_suspend_depth == 1 else _never
            if waiter is _never or waiter() or impl.connection_state != _OPEN or not wire.hurry():
                self._flush_output(waiter)
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
                if channel is not None and channel._state == _CHANNEL_OPEN:
                    channel._get_cookie()._dispatch_events()
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
        if impl.connection_state == _CLOSED:
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
                    if wire.inbox or wire.ending:
                        self._flush_output()
                    return
                if sent is False:
                    self.ways.pop((exchange, routing_key), None)
        impl, wire = self._impl, self.wire
        if impl._state != _CHANNEL_OPEN or impl.connection.connection_state != _OPEN or body.__class__ is not bytes:
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
        elif plain:
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
            self.connection._request_channel_dispatch(self.channel_number)
            return
        for one in batch:
            sink(_Delivery(*one))

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
            if impl._state != _CHANNEL_OPEN or impl.connection.connection_state != _OPEN:
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
        if impl._state != _CHANNEL_OPEN or impl.connection.connection_state != _OPEN or not wire.prompt:
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

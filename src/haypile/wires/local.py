"""The local wire: pika's connection on one side, a broker session on the other.

Owns: the AMQP handshake, the order of what goes up, the translation of failures to open into
pika's exceptions.
Must not know: what methods mean (the broker), pika's private names (``seam``).

Nothing goes up while pika is in the middle of sending: replies wait in the inbox until the loop
turns, or until a blocking front, which knows that it is safe, asks for them.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika import exceptions, frame, spec

from haypile.broker.errors import AMQPError
from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session
from haypile.hay.errors import HayError
from haypile.lanes.errors import LaneError
from haypile.wires.seam import Seam

LOGGER = logging.getLogger("haypile")

_Publish = spec.Basic.Publish
_Deliver = spec.Basic.Deliver
_Ack = spec.Basic.Ack

#: RabbitMQ's defaults.
CHANNEL_MAX, FRAME_MAX = 2047, 131072
#: What a frame has room for.
LAST_CHANNEL = 65535

#: What RabbitMQ 3.10 says of itself, so that clients find what they look for.
CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "consumer_priorities": True,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "direct_reply_to": True,
}

Watch = Callable[[int, Callable[[int], None]], None]


class LocalWire:
    """One connection's wire. See ``broker.ports.Outbox`` for the broker's side of it."""

    def __init__(
        self,
        connection: Seam,
        target: VhostTarget,
        watch: Watch,
        unwatch: Callable[[int], None],
        *,
        eager: bool = False,
        patience: float = 0.002,
    ) -> None:
        """``eager``: the front asks for replies itself and runs no user code while it gets them."""
        self.connection = connection
        self.target = target
        self.eager = eager
        self.patience = patience
        self.session: Session | None = None
        self.inbox: deque[tuple[int, Any, Any, bytes | None]] = deque()
        self.pid = os.getpid()
        self._watch, self._unwatch = watch, unwatch
        self._scheduled = False
        self._soon = False
        self._turning = False
        self._timer: Any = None
        self._valid: set[tuple[str, str]] = set()
        self._user = "guest"
        self._client_properties: dict[str, Any] = {}
        self._down = False

    # -- from pika --------------------------------------------------------------------------

    def connect(self) -> None:
        """Bring the wire up."""
        self.connection.call_soon(self.connection.stream_connected)

    def disconnect(self) -> None:
        """Take the wire down."""
        if not self._down:
            self._down = True
            self.end_session()
            self.connection.call_soon(lambda: self.connection.stream_terminated(None))

    def emitted(self, data: bytes) -> None:
        """pika wrote bytes: the protocol header or a heartbeat."""
        if data[:4] == b"AMQP":
            self.method(0, spec.Connection.Start(0, 9, server_properties(), "AMQPLAIN PLAIN", "en_US"))
        else:
            self.connection.heartbeat()

    def send(self, number: int, method: Any, content: Any) -> None:
        """pika sends a method."""
        kind = method.__class__
        session = self.session
        if number > LAST_CHANNEL:
            frame.Method(number, method).marshal()
        if self.pid != os.getpid():
            raise exceptions.ConnectionWrongStateError(
                "this connection belongs to the parent process; open a new one in the forked child"
            )
        if kind is _Publish:
            name = method.exchange, method.routing_key
            if name not in self._valid:
                method.encode()
                if len(self._valid) > 65536:
                    self._valid.clear()
                self._valid.add(name)
            if session is not None:
                session.handle(number, method, content[0], content[1])
            return
        if kind is not _Ack:
            method.encode()
        if session is not None:
            session.handle(number, method)
        elif number == 0:
            self.shake_hands(method)

    def shake_hands(self, method: Any) -> None:
        """The handshake, up to the open connection."""
        if isinstance(method, spec.Connection.StartOk):
            self._client_properties = method.client_properties or {}
            self._user = user_of(method)
            self.method(0, spec.Connection.Tune(CHANNEL_MAX, FRAME_MAX, 60))
        elif isinstance(method, spec.Connection.Open):
            try:
                self.session = Session.open(
                    self.target,
                    self,
                    client_properties=self._client_properties,
                    user=self._user,
                    patience=self.patience,
                    info={"pid": os.getpid(), "user": self._user},
                )
            except AMQPError as error:
                self.method(0, spec.Connection.Close(error.reply_code, error.reply_text, 10, 40))
            except (HayError, LaneError, OSError) as error:
                LOGGER.error("cannot use vhost %r: %s", self.target.vhost, error)
                self.refuse(exceptions.AMQPConnectionError(str(error)))
            else:
                SESSIONS[self.session.id, self.pid] = self.session
                self.method(0, spec.Connection.OpenOk(""))

    def refuse(self, error: Exception) -> None:
        """The connection cannot be had."""
        self._down = True
        self.connection.call_soon(lambda: self.connection.stream_terminated(error))

    def end_session(self) -> None:
        """Give back what the session holds."""
        session, self.session = self.session, None
        if session is not None and self.pid == os.getpid():
            SESSIONS.pop((session.id, self.pid), None)
            session.close()

    # -- from the broker --------------------------------------------------------------------

    def method(self, channel: int, method: Any) -> None:
        """See ``Outbox.method``."""
        self.inbox.append((channel, method, None, None))
        if not self._scheduled:
            self.schedule()

    def content(self, channel: int, method: Any, properties: Any, body: bytes) -> None:
        """See ``Outbox.content``."""
        if self._turning and self.eager and not self.inbox and method.__class__ is _Deliver:
            self.connection.receive_delivery(channel, method, properties, body)
            return
        self.inbox.append((channel, method, properties, body))
        if not self._scheduled:
            self.schedule()

    def watch(self, fd: int) -> None:
        """See ``Outbox.watch``."""
        self._watch(fd, self.on_ready)

    def unwatch(self, fd: int) -> None:
        """See ``Outbox.unwatch``."""
        self._unwatch(fd)

    def call_at(self, deadline: float | None) -> None:
        """See ``Outbox.call_at``."""
        if self._timer is not None:
            self.connection.cancel(self._timer)
            self._timer = None
        if deadline is not None and not self._down:
            # time.monotonic() is the clock of pika's loops, too.
            self._timer = self.connection.call_later(max(deadline - time.monotonic(), 0.0), self.on_timer)

    def soon(self) -> None:
        """See ``Outbox.soon``."""
        if not self.eager and not self._soon:
            self._soon = True
            self.connection.call_soon(self.before_sleep)

    # -- the loop turns ---------------------------------------------------------------------

    def schedule(self) -> None:
        """Something waits for pika: have the loop turn, unless the front does so by itself."""
        if not self.eager or self.session is None:
            self._scheduled = True
            self.connection.call_soon(self.turn)

    def turn(self) -> None:
        """Hand everything that waits to pika."""
        self._scheduled = False
        inbox = self.inbox
        connection = self.connection
        while inbox:
            number, method, properties, body = inbox.popleft()
            if body is None:
                connection.receive_method(number, method)
            elif method.__class__ is _Deliver:
                connection.receive_delivery(number, method, properties, body)
            else:
                connection.receive_content(number, method, properties, body)

    def before_sleep(self) -> None:
        """The loop is about to block."""
        self._soon = False
        session = self.session
        if session is not None:
            self._turning = True
            try:
                session.before_sleep()
            finally:
                self._turning = False

    def on_ready(self, fd: int) -> None:
        """A descriptor of the session is readable."""
        session = self.session
        if session is not None:
            self._turning = True
            try:
                session.on_ready(fd)
            finally:
                self._turning = False

    def on_timer(self) -> None:
        """The session's deadline has come."""
        self._timer = None
        session = self.session
        if session is not None:
            self._turning = True
            try:
                session.on_timer()
            finally:
                self._turning = False


#: Sessions of this process that are open, to be closed at its end.
SESSIONS: dict[tuple[int, int], Session] = {}


def close_all() -> None:
    """At the end of the process: leave nothing for others to clean up."""
    for (_, pid), session in list(SESSIONS.items()):
        if pid == os.getpid():
            try:
                session.close()
            except Exception:
                LOGGER.debug("a session could not be closed at exit", exc_info=True)


atexit.register(close_all)


def server_properties() -> dict[str, Any]:
    """What the broker says of itself in Connection.Start."""
    return {
        "capabilities": dict(CAPABILITIES),
        "cluster_name": f"haypile@{platform.node()}",
        "copyright": "",
        "information": "https://pypi.org/project/haypile",
        "platform": f"Python {platform.python_version()}",
        "product": "haypile",
        "version": "3.10.8",
    }


def user_of(method: spec.Connection.StartOk) -> str:
    """User name in a PLAIN response; haypile asks for no password, the kernel knows who we are."""
    response = method.response
    if isinstance(response, str):
        response = response.encode()
    parts = (response or b"").split(b"\0")
    return parts[1].decode(errors="replace") if len(parts) == 3 else "guest"


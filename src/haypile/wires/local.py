"""The local wire: pika's connection on one side, a broker session on the other.

Owns: what pika would have refused to marshal, the order of what goes up, the end of
a connection whose vhost fails, and what becomes of it in a forked child.
Must not know: what methods mean (the broker), pika's private names (``seam``).

Nothing goes up while pika is in the middle of sending, and nothing while the broker is at work, unless
the front says that no code of the user runs then (``eager``): replies wait in the inbox until the
loop turns, or until a blocking front asks for them.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pika import exceptions, frame, spec

from haypile.broker.ports import Content, Offload, VhostTarget
from haypile.wires import handshake, lives, workers
from haypile.wires.opening import FAILURES, Opening
from haypile.wires.seam.connection import Seam

if TYPE_CHECKING:
    from haypile.broker.idle import IdleSession

LOGGER = logging.getLogger("haypile")

_Deliver = spec.Basic.Deliver
_Ack = spec.Basic.Ack
_Close = spec.Connection.Close
_BasicProperties = spec.BasicProperties

#: Half of what a callback of ours may take, seconds: it is looked at between two steps.
SLICE = 0.0005
#: What a frame has room for.
LAST_CHANNEL, LAST_TAG = 0xFFFF, 0xFFFFFFFFFFFFFFFF
#: Pairs of exchange and routing key that are known to be good; beyond it the set starts anew.
VALID_NAMES = 65_536

Watch = Callable[[int, Callable[[], None]], None]


class LocalWire:
    """One connection's wire. See ``broker.ports.Outbox`` for the broker's side of it."""

    #: Until its first method the session is an idle one. A loop has no time for what that method imports.
    idles = False
    #: What is to go to ``fail``.
    failures: tuple[type[Exception], ...] = FAILURES

    def __init__(
        self,
        connection: Seam,
        target: VhostTarget,
        watch: Watch,
        unwatch: Callable[[int], None],
        *,
        patience: float,
        threads: bool = False,
    ) -> None:
        """``watch(fd, callback)`` and ``unwatch(fd)`` are the loop's; ``patience``: see ``Session.open``.

        ``threads``: what waits for a disk is done in another thread.
        """
        self.connection = connection
        self.target = target
        self.patience = patience
        self.session: IdleSession | None = None
        #: What makes the session, where it is not ``opening.open_session``.
        self.open_session: Callable[..., Any] | None = None
        self.inbox: deque[tuple[int, Any, Any, bytes | None]] = deque()
        self.stale = 0
        self.ending = False
        self._watch, self._unwatch = watch, unwatch
        #: The loop will call ``turn`` (or is in it, or will get to it when it leaves the broker).
        self._scheduled = False
        self._soon = False
        self._wakeup: Any = None
        self._valid: set[tuple[str, str]] = set()
        self.offload: Offload | None = self.do_elsewhere if threads else None
        #: Seconds until the loop's other work has its turn; 0: it has none.
        self.slice = SLICE if threads else 0.0
        self.opening = Opening(self)
        self.down = False
        lives.begin(self)

    # -- from pika --------------------------------------------------------------------------

    def connect(self, stack_timeout: float | None = None) -> None:
        """Bring the wire up; it is given up when the connection is not open in ``stack_timeout`` seconds."""
        self.opening.begin(stack_timeout)

    def disconnect(self) -> None:
        """Take the wire down."""
        if not self.down:
            self.end(None)

    def emitted(self, data: bytes) -> None:
        """pika wrote bytes: the protocol header or a heartbeat."""
        if data[:4] == b"AMQP":
            self.method(0, handshake.start())
        else:
            self.connection.heartbeat()

    def send(self, number: int, method: Any, content: Any) -> None:
        """pika sends a method."""
        if content:
            properties, body = content
            if body.__class__ is not bytes:
                # Whatever has a length and can be joined to bytes can be sent, in pika 1.3.
                frame.Body(number, body[: len(body)]).marshal()
                body = bytes(body)
            self.publish(number, method, properties, body)
            return
        if method.__class__ is not _Ack or method.delivery_tag.__class__ is not int:
            validate(number, method)
        elif not 0 <= method.delivery_tag <= LAST_TAG:
            method.encode()
        session = self.session
        if session is not None:
            if method.__class__ is _Close and self.offload is not None:
                again = partial(self.send, number, method, None)
                journaling = getattr(session, "journaling", None)  # a hybrid vhost's has it in its local half
                if journaling is not None and journaling.finish(again):
                    return
            try:
                session.handle(number, method)
            except FAILURES as error:
                self.fail(error)
        elif number == 0:
            self.opening.shake_hands(method)

    def publish(self, number: int, method: Any, properties: Any, body: bytes) -> None:
        """pika publishes a message."""
        name = method.exchange, method.routing_key
        try:
            if name not in self._valid:
                learn(self._valid, number, method)
            if properties.__class__ is not _BasicProperties:
                properties.encode()
            if self.session is not None:
                self.session.handle(number, method, properties, body)
        except FAILURES as error:
            self.fail(error)
        except Exception:
            # What pika could not have sent is pika's error, and the broker has not touched it.
            frame.Method(number, method).marshal()
            frame.Header(number, len(body), properties).marshal()
            raise

    def way(self, number: int, *name: str) -> Callable[..., bool | None] | None:
        """The short way of messages to this exchange and key, or of acks; it may raise ``failures``.

        See ``broker.express``.
        """
        find: Callable[..., Callable[..., bool | None] | None] | None = getattr(self.session, "way", None)
        try:
            return find and find(number, *name)
        except FAILURES:
            return None  # the long way meets it, too

    def end(self, error: Exception | None) -> None:
        """The connection cannot be had, or ends; None: pika knows why."""
        self.down = self.ending = True
        self.opening.over()
        self.inbox.clear()
        self.stale = 0
        self.end_session()
        self.connection.call_soon(lambda: self.connection.stream_terminated(error))

    def fail(self, error: Exception) -> None:
        """The vhost failed under an open connection: to pika the stream is lost."""
        if self.down:
            return
        LOGGER.error("vhost %r failed: %s", self.target.vhost, error, exc_info=True)
        self.end(exceptions.StreamLostError(f"vhost {self.target.vhost!r} failed: {error}"))

    def end_session(self) -> None:
        """Give back what the session holds."""
        session, self.session = self.session, None
        if session is None:
            return
        if self.offload is None:
            lives.close(session)
        else:
            lives.close_elsewhere(session)

    # -- from the broker --------------------------------------------------------------------

    def method(self, channel: int, method: Any) -> None:
        """See ``Outbox.method``."""
        self.inbox.append((channel, method, None, None))
        if not self._scheduled:
            self.schedule()

    def contents(self, channel: int, batch: Sequence[Content]) -> None:
        """See ``Outbox.contents``."""
        self.inbox.extend([(channel, *one) for one in batch])
        if not self._scheduled:
            self.schedule()

    def watch(self, fd: int) -> None:
        """See ``Outbox.watch``."""
        self._watch(fd, lambda: self.on_ready(fd))

    def unwatch(self, fd: int) -> None:
        """See ``Outbox.unwatch``. A loop that was closed first has forgotten its descriptors."""
        try:
            self._unwatch(fd)
        except Exception as error:
            LOGGER.debug("descriptor %d was not watched any more: %r", fd, error)

    def call_at(self, deadline: float | None) -> None:
        """See ``Outbox.call_at``."""
        timer, self._wakeup = self._wakeup, None
        if timer is not None:
            try:
                self.connection.cancel(timer)
            except Exception as error:
                if not self.down:
                    raise
                LOGGER.debug("a timer was not set any more: %r", error)
        if deadline is not None and not self.down:
            # time.monotonic() is the clock of pika's loops, too.
            self._wakeup = self.connection.call_later(max(deadline - time.monotonic(), 0.0), self.on_timer)

    def soon(self) -> None:
        """See ``Outbox.soon``."""
        self._soon = True
        if not self._scheduled:
            self.schedule()

    def do_elsewhere(self, work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
        """See ``ports.Offload``."""

        def back(error: BaseException | None) -> None:
            def in_loop() -> None:
                serve(self, done, error)
                if self.down:
                    self.inbox.clear()

            # The loop may be closed by now, and with it the connection's time is over.
            with contextlib.suppress(RuntimeError):
                self.connection.call_soon(in_loop)

        workers.run(work, back)

    # -- the loop turns ---------------------------------------------------------------------

    def schedule(self) -> None:
        """Something waits for pika: have the loop turn."""
        if not self.down:
            self._scheduled = True
            self.connection.call_soon(self.turn)

    def turn(self, until: float = 0.0) -> None:
        """Hand what waits to pika; called by the loop.

        What comes in meanwhile waits for the next turn, and so does the rest when it is time (``until``): timers and
        other descriptors have theirs first.
        """
        self._scheduled = True
        self._soon = False
        inbox, pass_on = self.inbox, self.pass_on
        until = until or (self.slice and time.monotonic() + self.slice)
        try:
            for number in range(len(inbox)):
                if not inbox or (until and number & 7 == 7 and time.monotonic() > until):
                    break
                try:
                    pass_on(*inbox.popleft())
                except Exception as error:
                    give_up(self, error)
                    return
            if until and not inbox and time.monotonic() > until:
                self._soon = True
            elif not inbox:
                self.before_sleep()
        finally:
            self._scheduled = False
            if inbox or self._soon:
                self.schedule()

    def pass_on(self, number: int, method: Any, properties: Any, body: bytes | None) -> None:
        """Hand one method to pika."""
        if body is None:
            self.connection.receive_method(number, method)
        elif method.__class__ is _Deliver:
            self.connection.receive_delivery(number, method, properties, body)
        else:
            self.connection.receive_content(number, method, properties, body)

    def before_sleep(self) -> None:
        """The loop is about to block."""
        if lives.dropped:
            lives.reap(lives.close if self.offload is None else lives.close_elsewhere)
        if self.session is not None:
            self._work(self.session.before_sleep)

    def on_ready(self, fd: int) -> None:
        """A descriptor of the session is readable."""
        if self.session is not None:
            serve(self, self.session.on_ready, fd)

    def on_timer(self) -> None:
        """The session's deadline has come."""
        self._wakeup = None
        if self.session is not None:
            serve(self, self.session.on_timer)

    def _work(self, work: Callable[..., None], *arguments: Any) -> None:
        """Let the session work; what it puts into the inbox is seen to afterwards."""
        before, self._scheduled = self._scheduled, True
        try:
            work(*arguments)
        except FAILURES as error:
            self.fail(error)
        finally:
            self._scheduled = before

    def __del__(self) -> None:
        # Dropped without close, as when a socket is: the session gives back what it holds.
        session = self.session
        if session is not None:
            lives.drop(session)


def serve(wire: LocalWire, work: Callable[..., None], *arguments: Any) -> None:
    """Let the session work, and hand up what waits then: in this turn of the loop, unless it took long already."""
    until = wire.slice and time.monotonic() + wire.slice
    wire._work(work, *arguments)
    if not until or time.monotonic() < until:
        wire.turn(until)
    elif not wire._scheduled:
        wire.schedule()


def give_up(wire: LocalWire, error: Exception) -> None:
    """A callback of the program raised ``error``: as over a socket, pika's connection is lost by that."""
    LOGGER.error("a callback raised %r: its connection is given up", error, exc_info=True)
    if not wire.down:
        wire.end(exceptions.StreamLostError(f"Stream connection lost: {error!r}"))


def learn(valid: set[tuple[str, str]], number: int, method: Any) -> None:
    """Validate a publish, and remember the names in it."""
    validate(number, method)
    if len(valid) >= VALID_NAMES:
        valid.clear()
    valid.add((method.exchange, method.routing_key))


def validate(number: int, method: Any) -> None:
    """Raise what pika would raise when it marshals ``method``, and see names as RabbitMQ would: as text."""
    if number > LAST_CHANNEL:
        frame.Method(number, method).marshal()
    method.encode()
    for name, value in vars(method).items():
        if value.__class__ is bytes:
            with contextlib.suppress(UnicodeDecodeError):
                setattr(method, name, value.decode())

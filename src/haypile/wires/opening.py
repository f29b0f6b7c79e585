"""How a connection to a vhost of this host opens.

Owns: the AMQP handshake from the broker's side, joining the vhost, and giving up when it takes too long.
Must not know: what is said afterwards.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from pika import exceptions, spec
from pika.adapters.utils import connection_workflow as workflow

from haypile.broker.errors import AMQPError
from haypile.broker.ports import VhostTarget
from haypile.hay import haste
from haypile.hay.errors import HayError
from haypile.lanes.errors import LaneError
from haypile.wires import handshake, workers

if TYPE_CHECKING:
    from haypile.broker.idle import IdleSession
    from haypile.broker.vhost import Vhost
    from haypile.wires.local import LocalWire

LOGGER = logging.getLogger("haypile")

#: What leaves the broker when the vhost itself fails: no memory, no disk, a state directory removed.
FAILURES = (HayError, LaneError, OSError)


def open_session(target: VhostTarget, outbox: LocalWire, **options: Any) -> IdleSession:
    """A session; the broker is imported by the first connection to this host, and as much of it as is needed."""
    if not outbox.idles:
        from haypile.broker.session import Session  # noqa: PLC0415

        return Session.open(target, outbox, **options)
    from haypile.broker.idle import IdleSession  # noqa: PLC0415

    return IdleSession.join(target, outbox, grow=grow, **options)


def grow(session: IdleSession) -> None:
    """Make a whole session of an idle one: most of the broker is imported by the first that has something to do."""
    from haypile.broker.session import Session  # noqa: PLC0415

    Session.grow(session)


def join_vhost(target: VhostTarget) -> Vhost:
    """What takes long about opening a connection: the broker's modules, a store, the journal's directory."""
    # Three that some methods import when they first need them: a loop has no time for that.
    import ctypes  # noqa: PLC0415, F401
    import hashlib  # noqa: PLC0415, F401
    import random  # noqa: PLC0415, F401

    from haypile.broker import session  # noqa: PLC0415, F401
    from haypile.broker.vhost import Vhost  # noqa: PLC0415

    vhost = Vhost.join(target)
    vhost.equip()
    journal = vhost.hay.journal
    if journal is not None and target.durability == "disk":
        journal.wanted = True
        try:
            journal.prepare()
        except HayError as error:
            # It is told when something is to be kept.
            LOGGER.debug("vhost %r: no journal yet: %s", target.vhost, str(error))
    return vhost


class Opening:
    """The opening of one connection."""

    def __init__(self, wire: LocalWire) -> None:
        self.wire = wire
        self.user = "guest"
        self.client_properties: dict[str, Any] = {}
        #: Ends it when it takes too long.
        self._limit: Any = None
        #: The vhost, joined by another thread.
        self._vhost: Vhost | None = None

    def begin(self, stack_timeout: float | None) -> None:
        """Have pika start the handshake; ``stack_timeout``: seconds until it is given up."""
        connection = self.wire.connection
        if stack_timeout is not None:
            self._limit = connection.call_later(stack_timeout, self.too_late)
        connection.call_soon(self.connected)

    def connected(self) -> None:
        """Where a socket would be connected now."""
        if not self.wire.down:
            self.wire.connection.stream_connected()

    def too_late(self) -> None:
        """The time that the parameters give is over: as pika's workflow says it."""
        self._limit = None
        late = workflow.AMQPConnectorStackTimeout(f"Timeout while opening vhost {self.wire.target.vhost!r}")
        failed = workflow.AMQPConnectionWorkflowFailed([workflow.AMQPConnectorSocketConnectError(late)])
        self.wire.end(exceptions.AMQPConnectionError(failed))

    def over(self) -> None:
        """The connection is open, or will never be."""
        limit, self._limit = self._limit, None
        if limit is not None:
            self.wire.connection.cancel(limit)

    def shake_hands(self, method: Any) -> None:
        """A method of pika's before the connection is open."""
        if isinstance(method, spec.Connection.StartOk):
            self.client_properties = method.client_properties or {}
            self.user = handshake.user_of(method)
            self.wire.method(0, handshake.tune())
        elif isinstance(method, spec.Connection.Open):
            # Timers that are due have their turn first, as while a socket waits for its broker.
            self.wire.connection.call_later(0, self.join)

    def join(self) -> None:
        """Join the vhost, in another thread where the loop has other work to do."""
        if self.wire.offload is not None:
            self.wire.offload(self.prepare, self.prepared)
        else:
            self.enter()

    def prepare(self) -> None:
        """In the other thread."""
        self._vhost = join_vhost(self.wire.target)

    def prepared(self, error: BaseException | None) -> None:
        """Back in the loop, which does not wait for the store's write lock."""
        wire, vhost = self.wire, self._vhost
        held = vhost is not None and not wire.down and haste.hold(vhost.hay)
        if vhost is not None and not held and not wire.down:

            def again() -> None:
                wire._work(self.prepared, error)
                wire.turn()

            wire.connection.call_later(haste.PAUSE, again)
            return
        self._vhost = None
        try:
            self.enter(error)
        finally:
            if vhost is not None:
                if held:
                    haste.let_go(vhost.hay)
                if vhost.users > 1:
                    vhost.leave()
                else:
                    # The last to leave closes the store.
                    workers.run(vhost.leave, lambda error: None)

    def enter(self, failed: BaseException | None = None) -> None:
        """Have a session; ``failed``: why there cannot be one."""
        wire = self.wire
        if wire.down:
            return
        try:
            if failed is not None:
                try:
                    raise failed
                finally:
                    failed = None
            session = (wire.open_session or open_session)(
                wire.target,
                wire,
                client_properties=self.client_properties,
                user=self.user,
                patience=wire.patience,
                info={"pid": os.getpid(), "user": self.user},
                offload=wire.offload,
            )
        except AMQPError as error:
            wire.method(0, spec.Connection.Close(error.reply_code, error.reply_text, 10, 40))
        except FAILURES as error:
            LOGGER.error("cannot use vhost %r: %s", wire.target.vhost, error)
            wire.end(exceptions.AMQPConnectionError(str(error)))
        else:
            self.over()
            # While there is no session every wire has its loop turn it.
            wire.method(0, spec.Connection.OpenOk(""))
            wire.session = session

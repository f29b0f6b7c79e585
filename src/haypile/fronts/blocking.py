"""pika's BlockingConnection, to a vhost of this host or to a RabbitMQ.

Owns: the wait of a blocking call without a detour through the select loop.
Must not know: the broker.

pika's ``_flush_output`` is where every blocking call waits. Over a local wire there is nothing to
flush, and replies are mostly there already: they are handed to pika at once, and only a wait for
something that is not there goes to sleep in the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika import exceptions
from pika.adapters import blocking_connection

from haypile.fronts.select import EagerSelectConnection
from haypile.wires import seam

PikaBlockingConnection = blocking_connection.BlockingConnection


class BlockingConnection(PikaBlockingConnection):  # type: ignore[misc]
    """pika's BlockingConnection; its parameters say where it leads (``targets``)."""

    def __init__(self, parameters: Any = None, _impl_class: Any = None) -> None:
        """See pika."""
        super().__init__(parameters, _impl_class or EagerSelectConnection)

    def _flush_output(self, *waiters: Callable[[], bool]) -> None:
        impl = self._impl
        wire = getattr(impl, "wire", None)
        if wire is None:
            super()._flush_output(*waiters)
            return
        if self.is_closed:
            raise exceptions.ConnectionWrongStateError()
        closed = self._closed_result
        if waiters and not closed.ready:
            inbox = wire.inbox
            # As in pika, what is ready already is not waited for: input stays where it is.
            while not (closed.ready or any(ready() for ready in waiters)):
                if not inbox:
                    wire.before_sleep()
                    if not inbox and not (closed.ready or any(ready() for ready in waiters)):
                        seam.turn_loop(impl)
                wire.turn()
        if closed.ready:
            self._on_closed()

    def _on_closed(self) -> None:
        """The connection ended while somebody waited: as pika reports it."""
        error = self._closed_result.value.error
        try:
            if not isinstance(error, exceptions.ConnectionClosedByClient):
                blocking_connection.LOGGER.error("Unexpected connection close detected: %r", error)
                raise error
            blocking_connection.LOGGER.info("User-initiated close: result=%r", self._closed_result.value)
        finally:
            self._cleanup()

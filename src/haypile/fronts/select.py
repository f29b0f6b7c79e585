"""pika's SelectConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach pika's own select loop, and trying several parameters in
turn.
Must not know: the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pika
from pika.adapters import select_connection
from pika.adapters.utils import connection_workflow

from haypile.broker.ports import VhostTarget
from haypile.targets import TargetError, resolve
from haypile.wires.local import LocalWire
from haypile.wires.seam import Seam

PikaSelectConnection = select_connection.SelectConnection
Parameters = pika.connection.Parameters


class SelectConnection(Seam, PikaSelectConnection):  # type: ignore[misc]
    """pika's SelectConnection; its parameters say where it leads (``targets``)."""

    #: Whether a blocking front turns the loop.
    eager = False
    #: Longest wait for room in a lane, seconds.
    patience = 0.0005

    def __init__(self, parameters: Parameters | None = None, *args: Any, **kwargs: Any) -> None:
        """See pika. Raises ``TargetError`` for parameters that lead nowhere."""
        parameters = parameters if parameters is not None else Parameters()
        target = resolve(parameters)
        if isinstance(target, VhostTarget):
            self.wire = LocalWire(
                self, target, self._watch, self._unwatch, eager=self.eager, patience=self.patience
            )
        else:
            parameters = target
        super().__init__(parameters, *args, **kwargs)

    def _watch(self, fd: int, callback: Callable[[int], None]) -> None:
        loop = self.ioloop
        loop.add_handler(fd, lambda ready, events: callback(fd), loop.READ)

    def _unwatch(self, fd: int) -> None:
        self.ioloop.remove_handler(fd)

    @classmethod
    def create_connection(
        cls,
        connection_configs: Sequence[Parameters],
        on_done: Callable[[Any], None],
        custom_ioloop: Any = None,
        workflow: Any = None,
    ) -> Any:
        """See pika: the configurations are tried in turn until one connects."""
        try:
            targets = [resolve(config) for config in connection_configs]
        except TargetError as error:
            failure = error
            loop = custom_ioloop or select_connection.IOLoop()
            loop.add_callback_threadsafe(lambda: on_done(failed([failure])))
            return None
        if not any(isinstance(target, VhostTarget) for target in targets):
            return super().create_connection(targets, on_done, custom_ioloop, workflow)
        attempt = Attempt(cls, list(connection_configs), on_done, custom_ioloop or select_connection.IOLoop())
        attempt.next()
        return attempt


class Attempt:
    """One round through several parameters, some of which are local."""

    def __init__(
        self, kind: type[SelectConnection], configs: list[Parameters], on_done: Callable[[Any], None], loop: Any
    ) -> None:
        self.kind = kind
        self.configs = configs
        self.on_done = on_done
        self.loop = loop
        self.errors: list[BaseException] = []
        self.connection: Any = None
        self.aborted = False

    def next(self) -> None:
        """Try the next parameters, or say that none worked."""
        if self.aborted:
            self.on_done(connection_workflow.AMQPConnectionWorkflowAborted())
        elif self.configs:
            config = self.configs.pop(0)
            self.connection = self.kind(
                config,
                on_open_callback=self.opened,
                on_open_error_callback=self.failed,
                custom_ioloop=self.loop,
            )
        else:
            self.on_done(failed(self.errors))

    def opened(self, connection: Any) -> None:
        """This one works."""
        if self.aborted:
            connection.close()
        else:
            self.on_done(connection)

    def failed(self, connection: Any, error: BaseException) -> None:
        """This one does not."""
        self.errors.append(error)
        self.next()

    def abort(self) -> None:
        """See pika's AbstractAMQPConnectionWorkflow."""
        self.aborted = True


def failed(errors: list[BaseException]) -> connection_workflow.AMQPConnectionWorkflowFailed:
    """What pika reports when nothing worked."""
    return connection_workflow.AMQPConnectionWorkflowFailed(errors)


class EagerSelectConnection(SelectConnection):
    """What is under a BlockingConnection, which asks for replies itself."""

    eager = True
    patience = 0.002


# Its name stands in texts of pika's exceptions.
EagerSelectConnection.__name__ = "SelectConnection"

"""Trying several connection parameters in turn, some of which lead to this host.

Owns: the order and the repeats of pika's ``AMQPConnectionWorkflow`` for lists that it cannot do.
Must not know: where parameters lead, what a connection is made of.

Each of the parameters is tried by itself; those that lead to a RabbitMQ by pika's own workflow, so that
the errors are the ones pika reports.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pika.adapters.utils import connection_workflow as pikas
from pika.connection import Parameters

from haypile.broker.ports import VhostTarget
from haypile.targets import TargetError, resolve

Done = Callable[[Any], None]


class Kind(Protocol):
    """A connection class: ``fronts.front.Front``."""

    def __call__(self, parameters: Parameters, **options: Any) -> Any: ...
    def create_remote(
        self, configs: Sequence[Parameters], on_done: Done, custom_ioloop: Any, workflow: Any = None
    ) -> Any: ...


class Attempt(pikas.AbstractAMQPConnectionWorkflow):  # type: ignore[misc]
    """One run through ``configs``, repeated as the last of them says."""

    def __init__(self, kind: Kind, services: Any, configs: Sequence[Parameters], on_done: Done) -> None:
        """``services``: pika's ``AbstractIOServices`` over the loop. ``on_done``: see pika's workflow."""
        if not configs:
            raise ValueError(f"connection_configs is empty: {configs!r}.")
        self.kind = kind
        self.services = services
        self.configs = list(configs)
        self.on_done: Done | None = on_done
        self.rounds = self.configs[-1].connection_attempts
        self.errors: list[BaseException] = []
        self.left: list[Parameters] = []
        self.connection: Any = None
        self.workflow: Any = None
        self.timer: Any = None
        self.aborted = False

    def begin(self) -> None:
        """Start, from the loop's own context."""
        self.timer = self.services.call_later(0, self._round)

    def abort(self) -> None:
        """See pika's AbstractAMQPConnectionWorkflow."""
        if self.on_done is None:
            raise pikas.AMQPConnectorWrongState("Cannot abort after completion was reported")
        self.aborted = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.workflow is not None:
            self.workflow.abort()
        elif self.connection is not None and not self.connection.is_closing:
            self.connection.close()
        else:
            self.services.add_callback_threadsafe(self._next)

    def _round(self) -> None:
        self.timer = None
        self.rounds -= 1
        self.left = list(self.configs)
        self._next()

    def _next(self) -> None:
        """Try the next parameters; when there are none left, start again or give up."""
        self.connection = self.workflow = None
        if self.aborted:
            self._report(pikas.AMQPConnectionWorkflowAborted())
        elif self.left:
            self._try(self.left.pop(0))
        elif self.rounds > 0:
            self.timer = self.services.call_later(self.configs[-1].retry_delay, self._round)
        else:
            self._report(pikas.AMQPConnectionWorkflowFailed(self.errors))

    def _try(self, config: Parameters) -> None:
        try:
            local = isinstance(resolve(config), VhostTarget)
        except TargetError as error:
            self._failed(None, error)
            return
        if local:
            self.connection = self.kind(
                config,
                on_open_callback=self._report,
                on_open_error_callback=self._failed,
                custom_ioloop=self.services,
            )
        else:
            once = copy.copy(config)
            once.connection_attempts = 1
            loop = self.services.get_native_ioloop()
            self.workflow = self.kind.create_remote([once], self._remote_done, loop)

    def _failed(self, connection: Any, error: BaseException) -> None:
        self.errors.append(pikas.AMQPConnectorAMQPHandshakeError(error))
        self._next()

    def _remote_done(self, result: Any) -> None:
        if isinstance(result, pikas.AMQPConnectionWorkflowFailed):
            self.errors.extend(result.exceptions)
            self._next()
        elif isinstance(result, BaseException):
            self._next()
        else:
            self._report(result)

    def _report(self, result: Any) -> None:
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done(result)

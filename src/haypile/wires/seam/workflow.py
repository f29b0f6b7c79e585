"""pika's connection workflow, where some of the parameters lead to this host.

Owns: what stands in for addresses and sockets in it.
Must not know: which parameters lead here, wires.
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable, Iterable
from typing import Any

from pika.adapters import base_connection
from pika.adapters.utils import connection_workflow


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

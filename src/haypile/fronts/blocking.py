"""pika's BlockingConnection, to a vhost of this host or to a RabbitMQ.

Owns: which connection is under it.
Must not know: the broker, pika's private names (``wires.seam`` has the wait and the quick calls).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from haypile.fronts.front import vhost_of
from haypile.fronts.select import EagerSelectConnection
from haypile.targets import ROUTES
from haypile.wires.seam.blocking import BlockingSeam


class BlockingConnection(BlockingSeam):
    """pika's BlockingConnection; its parameters say where it leads (``targets``)."""

    def __init__(self, parameters: Any = None, _impl_class: Any = None) -> None:
        """See pika."""
        super().__init__(parameters, _impl_class or EagerSelectConnection)

    def here(self, parameters: Any, kind: Any) -> Callable[..., Any] | None:
        """See ``BlockingSeam``. What leads nowhere, or to two hosts, is left to pika's workflow."""
        if kind is not EagerSelectConnection:
            return None
        target = vhost_of(parameters)
        return None if target is None or ROUTES in target.options else partial(kind, parameters, target=target)

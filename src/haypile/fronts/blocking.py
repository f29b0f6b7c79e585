"""pika's BlockingConnection, to a vhost of this host or to a RabbitMQ.

Owns: which connection is under it.
Must not know: the broker, pika's private names (``wires.seam`` has the wait and the quick calls).
"""

from __future__ import annotations

from typing import Any

from haypile.fronts.select import EagerSelectConnection
from haypile.wires.seam import BlockingSeam


class BlockingConnection(BlockingSeam):
    """pika's BlockingConnection; its parameters say where it leads (``targets``)."""

    def __init__(self, parameters: Any = None, _impl_class: Any = None) -> None:
        """See pika."""
        super().__init__(parameters, _impl_class or EagerSelectConnection)

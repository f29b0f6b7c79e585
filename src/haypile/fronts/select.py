"""pika's SelectConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach pika's own select loop.
Must not know: the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.select_connection import SelectConnection as PikaSelectConnection
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from haypile.broker.ports import VhostTarget
from haypile.fronts.front import Front
from haypile.links import opening
from haypile.targets import ROUTES
from haypile.wires.burst import Burst
from haypile.wires.eager import EagerWire, FlushingWire
from haypile.wires.local import LocalWire


class SelectConnection(Front, PikaSelectConnection):  # type: ignore[misc]
    """pika's SelectConnection; its parameters say where it leads (``targets``)."""

    threads = True

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See ``Front``."""
        loop = self.ioloop
        loop.add_handler(fd, lambda ready, events: callback(), loop.READ)

    def unwatch(self, fd: int) -> None:
        """See ``Front``."""
        self.ioloop.remove_handler(fd)

    @classmethod
    def services(cls, custom_ioloop: Any) -> Any:
        """See ``Front``."""
        return SelectorIOServicesAdapter(custom_ioloop or IOLoop())


class LinkConnection(Burst, SelectConnection):
    """What links connect by, in a room below this one; they have no other work, and may wait for a disk."""

    threads = False


opening.use(LinkConnection)


class EagerSelectConnection(SelectConnection):
    """What is under a BlockingConnection, which asks for replies itself."""

    patience = 0.05

    def make_wire(self, target: VhostTarget) -> LocalWire:
        """See ``Front``."""
        kind = FlushingWire if ROUTES in target.options else EagerWire
        return kind(self, target, self.watch, self.unwatch, patience=self.patience)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See ``Seam``: no other thread calls it, so nobody is to be woken through pika's pair of sockets."""
        self.call_later(0, callback)


# Its name stands in texts of pika's exceptions.
EagerSelectConnection.__name__ = "SelectConnection"

"""pika's GeventConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach gevent's loop.
Must not know: the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
from pika.adapters.gevent_connection import GeventConnection as PikaGeventConnection

from haypile.broker.ports import VhostTarget
from haypile.fronts.front import Front
from haypile.wires.local import LocalWire
from haypile.wires.seam import adapters


class GeventConnection(Front, PikaGeventConnection):  # type: ignore[misc]
    """pika's GeventConnection; its parameters say where it leads (``targets``)."""

    def make_wire(self, target: VhostTarget) -> LocalWire:
        """See ``Front``. Where gevent has replaced threads by greenlets, there are none to wait for a disk.

        (Locks are gevent's there, too, and its hub must not wait for one that a thread holds.)
        """
        threads = not gevent.monkey.is_module_patched("threading")
        return LocalWire(self, target, self.watch, self.unwatch, patience=self.patience, threads=threads)

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
        return adapters.gevent_services(custom_ioloop)

"""pika's GeventConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach gevent's loop.
Must not know: the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.adapters.gevent_connection import GeventConnection as PikaGeventConnection

from haypile.fronts.front import Front
from haypile.wires import seam


class GeventConnection(Front, PikaGeventConnection):  # type: ignore[misc]
    """pika's GeventConnection; its parameters say where it leads (``targets``)."""

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
        return seam.gevent_services(custom_ioloop)

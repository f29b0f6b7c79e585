"""pika's TornadoConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach Tornado's loop.
Must not know: the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.adapters.tornado_connection import TornadoConnection as PikaTornadoConnection
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from tornado.ioloop import IOLoop

from haypile.fronts.front import Front


class TornadoConnection(Front, PikaTornadoConnection):  # type: ignore[misc]
    """pika's TornadoConnection; its parameters say where it leads (``targets``)."""

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
        return SelectorIOServicesAdapter(custom_ioloop or IOLoop.instance())

"""pika's AsyncioConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors and callbacks of a session reach an asyncio loop.
Must not know: the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pika.adapters.asyncio_connection import AsyncioConnection as PikaAsyncioConnection

from haypile.fronts.front import Front
from haypile.wires.looking import LookingWire
from haypile.wires.seam import adapters


class AsyncioConnection(Front, PikaAsyncioConnection):  # type: ignore[misc]
    """pika's AsyncioConnection; its parameters say where it leads (``targets``)."""

    threads = True
    wires = LookingWire

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See ``Front``."""
        self.ioloop.add_reader(fd, callback)

    def unwatch(self, fd: int) -> None:
        """See ``Front``."""
        self.ioloop.remove_reader(fd)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """See ``Seam``; within the loop there is nobody to wake."""
        loop = self.ioloop
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            loop.call_soon(callback)
        else:
            loop.call_soon_threadsafe(callback)

    @classmethod
    def services(cls, custom_ioloop: Any) -> Any:
        """See ``Front``."""
        return adapters.asyncio_services(custom_ioloop)

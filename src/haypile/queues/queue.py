"""``multiprocessing.Queue`` and ``SimpleQueue``: on this host, or on a RabbitMQ.

Owns: the choice between the two.
Must not know: how either works.
"""

from __future__ import annotations

from typing import Any

import haypile.queues.place as place
from haypile.queues.local import LocalQueue
from haypile.queues.remote import RemoteQueue


class Queue(LocalQueue):
    """A first-in first-out queue between processes.

    ``name``: any process may open it; without one it goes with the process that made it. ``maxsize``: items
    it takes, 0: any number. ``url``: ``posix:///VHOST`` or ``sysv:///VHOST`` (default: HAYPILE_URL, else kernel
    queues of this host), or ``amqp://…``: the queue is on that RabbitMQ. ``serializer``: ``pickle``
    (default where only our own user can write), ``json``, ``msgpack`` or ``bytes``.

    Raises ``serial.PicklingRefused``, ``targets.TargetError``, ValueError when it is there with another maxsize.
    """

    def __new__(
        cls, maxsize: int = 0, *, name: str | None = None, url: str | None = None, serializer: str | None = None
    ) -> Any:
        """A queue of this host, or a ``RemoteQueue``."""
        found = place.find(url)
        if isinstance(found, str):
            return RemoteQueue(maxsize, name=name, url=found, serializer=serializer)
        return super().__new__(cls)


class SimpleQueue(Queue):
    """``multiprocessing.SimpleQueue``: a queue without limits and without timeouts."""

    def __new__(cls, *, name: str | None = None, url: str | None = None, serializer: str | None = None) -> Any:
        """See ``Queue``."""
        return super().__new__(cls, 0, name=name, url=url, serializer=serializer)

    def __init__(self, *, name: str | None = None, url: str | None = None, serializer: str | None = None) -> None:
        super().__init__(0, name=name, url=url, serializer=serializer)

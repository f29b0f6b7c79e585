"""The same queue on a RabbitMQ: between machines.

Owns: putting and getting over pika, for ``Queue(url="amqp://…")``.
Must not know: kernel queues.

``put`` waits for the broker's confirm. ``qsize`` is what the broker counts as ready.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, Full
from typing import Any

import pika
from pika import exceptions
from pika.adapters import blocking_connection

import haypile.queues.place as place
import haypile.queues.serial as serial
from haypile.queues.place import LATE, SOON


class RemoteQueue:
    """See ``queue.Queue``. A queue without a name goes when nobody has used it for an hour."""

    def __init__(
        self, maxsize: int = 0, *, name: str | None = None, url: str, serializer: str | None = None
    ) -> None:
        self._serializer = serial.serializer(serializer, private=False)
        self._url, self._maxsize = url, maxsize
        self.name = place.anonymous_name() if name is None else name
        self._arguments: dict[str, Any] = {}
        if maxsize > 0:
            self._arguments = {"x-max-length": maxsize, "x-overflow": "reject-publish"}
        if name is None:
            self._arguments["x-expires"] = 3_600_000
        self._begin()
        with self._lock:
            self._channel().queue_declare(self.name, arguments=self._arguments)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._made: Any = None
        self._closed = False

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_serializer", "_url", "_maxsize", "name", "_arguments")
        state = {key: self.__dict__[key] for key in kept}
        state["_serializer"] = self._serializer.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._serializer = serial.serializer(state["_serializer"], private=True)
        self._begin()

    def _channel(self) -> Any:
        if self._closed:
            raise ValueError(f"queue {self.name!r} is closed")
        if self._pid != os.getpid():
            # The parent's connection is the parent's.
            self._begin_child()
        if self._made is None or self._made.is_closed:
            connection = blocking_connection.BlockingConnection(pika.URLParameters(self._url))
            self._made = connection.channel()
            self._made.confirm_delivery()
        return self._made

    def _begin_child(self) -> None:
        self._pid = os.getpid()
        self._made = None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """See ``queue.Queue.put``."""
        body = self._serializer.dumps(item)
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = SOON
        while True:
            with self._lock:
                try:
                    self._channel().basic_publish("", self.name, body, mandatory=True)
                    return
                except exceptions.NackError:
                    pass
            if not block or (deadline is not None and time.monotonic() >= deadline):
                raise Full
            time.sleep(pause)
            pause = min(2 * pause, LATE)

    def put_nowait(self, item: Any) -> None:
        """``put`` without waiting."""
        self.put(item, False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """See ``queue.Queue.get``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = SOON
        while True:
            with self._lock:
                method, _, body = self._channel().basic_get(self.name, auto_ack=True)
            if method is not None:
                return self._serializer.loads(body)
            if not block or (deadline is not None and time.monotonic() >= deadline):
                raise Empty
            time.sleep(pause)
            pause = min(2 * pause, 10 * LATE)

    def get_nowait(self) -> Any:
        """``get`` without waiting."""
        return self.get(False)

    def qsize(self) -> int:
        """Ready items."""
        with self._lock:
            return int(self._channel().queue_declare(self.name, passive=True).method.message_count)

    def empty(self) -> bool:
        """Whether there is none."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether there is no room for another."""
        return 0 < self._maxsize <= self.qsize()

    def close(self) -> None:
        """This process uses it no more."""
        if not self._closed and self._made is not None and self._pid == os.getpid() and self._made.is_open:
            self._made.connection.close()
        self._closed = True

    def unlink(self) -> None:
        """Delete it, with what is in it."""
        with self._lock:
            self._channel().queue_delete(self.name)

    def join_thread(self) -> None:
        """There is no thread."""

    def cancel_join_thread(self) -> None:
        """There is no thread."""

"""The same queue on a RabbitMQ: between machines.

Owns: putting and getting over pika, for ``Queue(url="amqp://…")``.
Must not know: kernel queues.

``put`` waits for the broker's confirm, ``get`` acknowledges what it has received; ``qsize`` is what the broker counts
as ready. Putting and getting have a connection each, so that a thread that waits for an item does not keep another one
from putting it. A connection that was lost is made anew, once a call: an item is never lost by that, but the one under
way may come twice.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import Empty, Full
from typing import Any, TypeVar

import pika
from pika import exceptions
from pika.adapters import blocking_connection

import haypile.queues.place as place
import haypile.queues.serial as serial
from haypile.queues.place import LATE, SOON

_Result = TypeVar("_Result")


class Line:
    """A connection with one channel, for the thread that holds ``lock``."""

    def __init__(self, url: str, confirms: bool) -> None:
        self.lock = threading.Lock()
        self._url, self._confirms = url, confirms
        self._channel: Any = None

    def do(self, work: Callable[[Any], _Result]) -> _Result:
        """``work(channel)``; once more where the connection turns out to be lost, as one is that was long idle.

        Raises what pika raises.
        """
        try:
            return work(self._open())
        except exceptions.AMQPConnectionError:
            self._channel = None
            return work(self._open())

    def _open(self) -> Any:
        if self._channel is None or self._channel.is_closed:
            self.close()
            connection = blocking_connection.BlockingConnection(pika.URLParameters(self._url))
            self._channel = connection.channel()
            if self._confirms:
                self._channel.confirm_delivery()
        return self._channel

    def close(self) -> None:
        """Give the connection back."""
        channel, self._channel = self._channel, None
        if channel is not None and channel.connection.is_open:
            channel.connection.close()


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
        with self._putting.lock:
            self._putting.do(lambda channel: channel.queue_declare(self.name, arguments=self._arguments))

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._putting, self._getting = Line(self._url, True), Line(self._url, False)
        self._closed = False

    def _line(self, which: str) -> Line:
        if self._pid != os.getpid():
            # The parent's connections are the parent's.
            closed = self._closed
            self._begin()
            self._closed = closed
        if self._closed:
            raise ValueError(f"queue {self.name!r} is closed")
        line: Line = getattr(self, which)
        return line

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_serializer", "_url", "_maxsize", "name", "_arguments")
        state = {key: self.__dict__[key] for key in kept}
        state["_serializer"] = self._serializer.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._serializer = serial.serializer(state["_serializer"], private=True)
        self._begin()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """See ``queue.Queue.put``."""
        body = self._serializer.dumps(item)
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = SOON
        line = self._line("_putting")

        def publish(channel: Any) -> bool:
            try:
                channel.basic_publish("", self.name, body, mandatory=True)
            except exceptions.NackError:
                return False
            return True

        while True:
            with line.lock:
                if line.do(publish):
                    return
            if not block or (deadline is not None and time.monotonic() >= deadline):
                raise Full
            time.sleep(pause)
            pause = min(2 * pause, LATE)

    def put_nowait(self, item: Any) -> None:
        """``put`` without waiting."""
        self.put(item, False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """See ``queue.Queue.get``."""
        deadline = None if timeout is None or not block else time.monotonic() + timeout
        line = self._line("_getting")
        if not line.lock.acquire(block, -1 if deadline is None or timeout is None else max(timeout, 0)):
            raise Empty
        try:
            body = line.do(self._take)
            if body is None and block:
                body = line.do(lambda channel: self._wait(channel, deadline))
        finally:
            line.lock.release()
        if body is None:
            raise Empty
        return self._serializer.loads(body)

    def _take(self, channel: Any) -> bytes | None:
        method, _, body = channel.basic_get(self.name)
        if method is None:
            return None
        channel.basic_ack(method.delivery_tag)
        return bytes(body)

    def _wait(self, channel: Any, deadline: float | None) -> bytes | None:
        """Consume one item; None when ``deadline`` has passed."""
        found: list[tuple[int, bytes]] = []
        channel.basic_qos(prefetch_count=1)
        tag = channel.basic_consume(self.name, lambda _, method, __, body: found.append((method.delivery_tag, body)))
        try:
            while not found:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                channel.connection.process_data_events(left)
                if tag not in channel.consumer_tags:
                    raise ValueError(f"queue {self.name!r} was deleted")
        finally:
            # What comes after the first goes back to its place.
            if channel.is_open:
                channel.basic_cancel(tag)
        channel.basic_ack(found[0][0])
        return found[0][1]

    def get_nowait(self) -> Any:
        """``get`` without waiting."""
        return self.get(False)

    def qsize(self) -> int:
        """Ready items."""
        line = self._line("_putting")
        with line.lock:
            declared = line.do(lambda channel: channel.queue_declare(self.name, passive=True))
        return int(declared.method.message_count)

    def empty(self) -> bool:
        """Whether there is none."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether there is no room for another."""
        return 0 < self._maxsize <= self.qsize()

    def close(self) -> None:
        """This process uses it no more."""
        if not self._closed and self._pid == os.getpid():
            for line in (self._putting, self._getting):
                line.close()
        self._closed = True

    def unlink(self) -> None:
        """Delete it, with what is in it."""
        line = self._line("_putting")
        with line.lock:
            line.do(lambda channel: channel.queue_delete(self.name))

    def join_thread(self) -> None:
        """There is no thread."""

    def cancel_join_thread(self) -> None:
        """There is no thread."""

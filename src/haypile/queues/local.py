"""``multiprocessing.Queue`` without a feeder thread, between any processes of a host.

Owns: their interface: blocking, timeouts, what is raised, passing queues to other processes.
Must not know: lanes, the store (``port``).

``put`` returns when the item is in the kernel or in the store; it never depends on this process again.
A process killed in ``put`` or ``get`` harms nobody else: there is no lock that it could hold.
"""

from __future__ import annotations

import os
import time
from multiprocessing import util
from queue import Empty, Full
from typing import Any, TypeVar

import haypile.queues.place as place
import haypile.queues.serial as serial
from haypile.broker.ports import VhostTarget
from haypile.queues.place import LATE, SOON
from haypile.queues.port import Ports
from haypile.queues.quiet import Here

_Self = TypeVar("_Self", bound="LocalQueue")


class LocalQueue:
    """See ``queue.Queue``."""

    #: Items that were fetched stay in the store until they are done.
    _holds = False

    def __init__(
        self,
        maxsize: int = 0,
        *,
        name: str | None = None,
        url: str | None = None,
        serializer: str | None = None,
    ) -> None:
        target = place.find(url)
        if isinstance(target, str):
            raise ValueError(f"{type(self).__name__} works on this host only, not over {target.partition(':')[0]}://")
        chosen = serial.serializer(serializer, private=place.is_private(target))
        anonymous = name is None
        name = place.anonymous_name() if name is None else name
        wanted = self._arguments(maxsize) if maxsize > 0 or anonymous else None
        arguments = place.make(target, name, wanted)
        if wanted is None and not arguments and self._arguments(0):
            raise ValueError(f"queue {name!r} is there already, and no {type(self).__name__}")
        self._begin(target, name, int(arguments.get("x-max-length", 0)), chosen)
        if anonymous:
            # After multiprocessing has joined this process's children, which may still use it.
            util.Finalize(None, _remove, (os.getpid(), target, name), exitpriority=-10)

    def _arguments(self, maxsize: int) -> dict[str, Any]:
        """Of the broker's queue."""
        return {"x-max-length": maxsize, "x-overflow": "reject-publish"} if maxsize > 0 else {}

    def _begin(self, target: VhostTarget, name: str, maxsize: int, chosen: serial.Serializer) -> None:
        self._ports = Ports(target, name, holds=self._holds)
        self._maxsize = maxsize
        self._serializer = chosen
        self._dumps, self._loads = chosen.dumps, chosen.loads

    # -- passing it on ------------------------------------------------------------------------

    def __getstate__(self) -> Any:
        return self._ports.target, self._ports.name, self._maxsize, self._serializer.name

    def __reduce__(self) -> Any:
        return _again, (type(self), self.__getstate__())

    def copy(self: _Self) -> _Self:
        """Another object for the same queue, with sessions and an end of its own."""
        made: _Self = _again(type(self), self.__getstate__())
        return made

    def loads(self, body: bytes) -> Any:
        """The item in ``body``."""
        return self._loads(body)

    @property
    def name(self) -> str:
        """Under which other processes open it."""
        return self._ports.name

    def _open(self) -> Ports:
        ports = self._ports
        if ports.pid != Here.pid:
            ports.refresh()
        if ports.closed:
            raise ValueError(f"{type(self).__name__} {self.name!r} is closed")
        return ports

    # -- putting ------------------------------------------------------------------------------

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put ``item``; raises ``queue.Full`` when there is no room (at once, or after ``timeout`` seconds)."""
        body = self._dumps(item)
        ports = self._ports
        if ports.pid == Here.pid and ports.putting.acquire(False):
            try:
                done = ports.quick_put(body)
            finally:
                ports.putting.release()
            if done:
                return
        self.put_bytes(body, block, timeout)

    def put_bytes(self, body: bytes, block: bool = True, timeout: float | None = None) -> None:
        """``put`` without a serialiser."""
        ports = self._open()
        with ports.putting:
            if ports.putter().put(body):
                return
        if not block:
            raise Full
        self._put_later(ports, body, None if timeout is None else time.monotonic() + timeout)

    def _put_later(self, ports: Ports, body: bytes, deadline: float | None) -> None:
        pause = SOON
        while True:
            left = LATE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise Full
            time.sleep(min(pause, left))
            pause = min(2 * pause, LATE)
            with ports.putting:
                if ports.putter().put(body):
                    return

    def put_nowait(self, item: Any) -> None:
        """``put`` without waiting."""
        self.put(item, False)

    # -- getting ------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item.

        Raises ``queue.Empty`` when there is none (at once, or after ``timeout`` seconds).
        """
        ports = self._ports
        if ports.pid == Here.pid and ports.getting.acquire(False):
            try:
                body = ports.quick()
            finally:
                ports.getting.release()
            if body is not None:
                return self._loads(body)
        return self._loads(self.get_bytes(block, timeout))

    def get_bytes(self, block: bool = True, timeout: float | None = None) -> bytes:
        """``get`` without a serialiser."""
        ports = self._open()
        deadline = None if timeout is None or not block else time.monotonic() + timeout
        if not ports.getting.acquire(block, -1 if deadline is None or timeout is None else max(timeout, 0)):
            raise Empty
        try:
            port = ports.getter()
            body = port.hover() if block else port.quick()
            if body is not None:
                return body
            while (body := port.take()) is None:
                if not block:
                    raise Empty
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                port.wait(left)
            return body
        finally:
            ports.getting.release()

    def get_nowait(self) -> Any:
        """``get`` without waiting."""
        return self.get(False)

    # -- looking ------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Items in it, exactly, at this instant."""
        ports = self._open()
        with ports.putting:
            return ports.putter().count()

    def empty(self) -> bool:
        """Whether there is none."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether there is no room for another."""
        return 0 < self._maxsize <= self.qsize()

    def fileno(self) -> int:
        """A descriptor for ``selectors``: readable while there may be an item (then ``get_nowait``)."""
        ports = self._open()
        with ports.getting:
            port = ports.getter()
            if not port.asked_for_fd:
                fd = port.fileno()
                port.session.file.bell.ring()
                return fd
            return port.fileno()

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """This process uses it no more. What is in it stays."""
        if self._ports.pid != os.getpid():
            self._ports.refresh()
        self._ports.close()

    def unlink(self) -> None:
        """Delete it, with what is in it, for all processes."""
        place.remove(self._ports.target, self._ports.name)

    def join_thread(self) -> None:
        """There is no thread."""

    def cancel_join_thread(self) -> None:
        """There is no thread."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _again(kind: type[Any], state: Any) -> Any:
    made = object.__new__(kind)
    target, name, maxsize, chosen = state
    made._begin(target, name, maxsize, serial.serializer(chosen, private=True))
    return made


def _remove(pid: int, target: VhostTarget, name: str) -> None:
    """At the end of the process that made a queue without a name."""
    if pid == os.getpid() and target.directory.exists():
        place.remove(target, name)

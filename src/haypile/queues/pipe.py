"""``multiprocessing.Pipe``: two ends, each a connection with ``send`` and ``recv``.

Owns: the ends' interface, and noticing that the other end is gone.
Must not know: lanes, the store.

What is sent travels through two queues (one, if not duplex), so ``send`` does not block. Whether anybody
still holds the other end is what the kernel knows of a plain pipe whose writing side goes with that end
wherever it goes: inherited, passed on, closed or killed.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from multiprocessing import reduction
from queue import Empty
from typing import Any

from haypile.queues.queue import SimpleQueue


def Pipe(duplex: bool = True, *, url: str | None = None) -> tuple[Connection, Connection]:
    """A pair of connections; without ``duplex`` the first only receives and the second only sends."""
    there = SimpleQueue(url=url)
    back = SimpleQueue(url=url) if duplex else None
    first_alive, first_held = os.pipe()
    second_alive, second_held = os.pipe()
    return (
        Connection(there, back, second_alive, first_held),
        Connection(back, there, first_alive, second_held),
    )


class Connection:
    """One end."""

    def __init__(self, inward: SimpleQueue | None, outward: SimpleQueue | None, alive: int, held: int) -> None:
        """``alive`` ends when the other end is gone; ``held`` tells the other end that this one is not."""
        self._inward = inward.copy() if inward is not None else None
        self._outward = outward.copy() if outward is not None else None
        self._alive, self._held = alive, held
        self._peeked: list[bytes] = []

    def __reduce__(self) -> Any:
        return _again, (
            type(self),
            self._inward,
            self._outward,
            reduction.DupFd(self._alive),
            reduction.DupFd(self._held),
        )

    # -- state --------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this process closed it."""
        return self._held < 0

    @property
    def readable(self) -> bool:
        """Whether it receives."""
        return self._inward is not None

    @property
    def writable(self) -> bool:
        """Whether it sends."""
        return self._outward is not None

    def _receiving(self) -> SimpleQueue:
        if self.closed:
            raise OSError("handle is closed")
        if self._inward is None:
            raise OSError("connection is write-only")
        return self._inward

    def _sending(self) -> SimpleQueue:
        if self.closed:
            raise OSError("handle is closed")
        if self._outward is None:
            raise OSError("connection is read-only")
        return self._outward

    def _other_is_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._alive, select.POLLIN)
        return bool(poll.poll(0))

    # -- sending ------------------------------------------------------------------------------

    def send(self, item: Any) -> None:
        """Send ``item``, pickled. Raises BrokenPipeError when the other end is gone."""
        self._put(self._sending(), lambda queue: queue.put(item))

    def send_bytes(self, data: Any, offset: int = 0, size: int | None = None) -> None:
        """Send bytes. Raises BrokenPipeError when the other end is gone."""
        view = memoryview(data).cast("B")
        if offset < 0 or (size is not None and (size < 0 or offset + size > len(view))) or offset > len(view):
            raise ValueError("buffer length < offset + size" if offset >= 0 else "offset is negative")
        chunk = bytes(view[offset : None if size is None else offset + size])
        self._put(self._sending(), lambda queue: queue.put_bytes(chunk))

    def _put(self, queue: SimpleQueue, put: Callable[[SimpleQueue], None]) -> None:
        if self._other_is_gone():
            raise BrokenPipeError("the other end is gone")
        put(queue)

    # -- receiving ----------------------------------------------------------------------------

    def recv(self) -> Any:
        """The next item. Raises EOFError when there is none and the other end is gone."""
        return self._receiving().loads(self.recv_bytes())

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """The next item's bytes. Raises EOFError, and OSError for more than ``maxlength``."""
        queue = self._receiving()
        if not self._wait(queue, None):
            raise EOFError
        data = self._peeked.pop()
        if maxlength is not None and len(data) > maxlength:
            raise OSError("got a message that is longer than maxlength")
        return data

    def recv_bytes_into(self, buffer: Any, offset: int = 0) -> int:
        """The next item's bytes into ``buffer``; how many."""
        view = memoryview(buffer).cast("B")
        data = self.recv_bytes()
        if len(data) > len(view) - offset:
            from multiprocessing import BufferTooShort  # noqa: PLC0415 - rarely needed

            raise BufferTooShort(data)
        view[offset : offset + len(data)] = data
        return len(data)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether ``recv`` would not block, within ``timeout`` seconds (None: for ever)."""
        queue = self._receiving()
        return self._wait(queue, timeout) or self._other_is_gone()

    def _wait(self, queue: SimpleQueue, timeout: float | None) -> bool:
        """Fetch an item; False when the time is over or the other end is gone."""
        if self._peeked:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = None
        while True:
            gone = self._other_is_gone() if poll is not None or timeout == 0 else False
            try:
                self._peeked.append(queue.get_bytes(False))
                return True
            except Empty:
                if gone:
                    return False
            left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if left <= 0:
                return False
            if poll is None:
                poll = select.poll()
                poll.register(queue.fileno(), select.POLLIN)
                poll.register(self._alive, select.POLLIN)
                continue
            poll.poll(left * 1000)

    def fileno(self) -> int:
        """A descriptor for ``selectors``: readable while there may be an item."""
        return self._receiving().fileno()

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """This process uses this end no more. Idempotent."""
        if self._held >= 0:
            os.close(self._held)
            os.close(self._alive)
            self._held = self._alive = -1
            for queue in (self._inward, self._outward):
                if queue is not None:
                    queue.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_held", -1) >= 0:
            self.close()


def _again(kind: type[Connection], inward: Any, outward: Any, alive: Any, held: Any) -> Connection:
    return kind(inward, outward, alive.detach(), held.detach())

"""The two ends of each rival, as small as its users would write them.

Owns: how each library sends and receives. Must not know: what is measured.

A way is made before the fork; ``sender`` and ``receiver`` are called after it, each in its process.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import secrets
import select
import tempfile
from collections.abc import Callable
from typing import Any

Send = Callable[[Any], object]
Receive = Callable[[], Any]

#: Kernel queue attributes: the defaults of Linux.
MESSAGES, MESSAGE_BYTES = 10, 8192

FORK = multiprocessing.get_context("fork")


class Way:
    """One direction between two processes."""

    def sender(self) -> Send:
        raise NotImplementedError

    def receiver(self) -> Receive:
        raise NotImplementedError

    def taker(self) -> Callable[[int], None]:
        """Receives so many."""
        receive = self.receiver()

        def take(count: int) -> None:
            for _ in range(count):
                receive()

        return take

    def body(self, size: int) -> Any:
        """What is sent."""
        return os.urandom(size)

    def close(self) -> None:
        """In the parent, when both are done."""


class PosixQueue(Way):
    """posix_ipc; receiving waits in the kernel, or in epoll as an event loop has to."""

    def __init__(self, epoll: bool = False) -> None:
        module: Any = importlib.import_module("posix_ipc")
        self.epoll = epoll
        self.busy = module.BusyError
        self.queue = module.MessageQueue(
            f"/bench-{secrets.token_hex(6)}",
            module.O_CREX,
            mode=0o600,
            max_messages=MESSAGES,
            max_message_size=MESSAGE_BYTES,
        )
        # Nameless from here on: whatever happens, the kernel frees it with the last descriptor.
        self.queue.unlink()

    def sender(self) -> Send:
        send: Send = self.queue.send
        return send

    def receiver(self) -> Receive:
        take = self.queue.receive
        if not self.epoll:
            return lambda: take()[0]
        poll, busy = select.epoll(), self.busy
        poll.register(self.queue.mqd, select.EPOLLIN)
        self.queue.block = False

        def receive() -> bytes:
            while True:
                try:
                    received: bytes = take()[0]
                    return received
                except busy:
                    poll.poll()

        return receive

    def close(self) -> None:
        self.queue.close()


class SysVQueue(Way):
    """sysv_ipc, waiting in the kernel."""

    def __init__(self, epoll: bool = False) -> None:
        module: Any = importlib.import_module("sysv_ipc")
        self.queue = module.MessageQueue(None, module.IPC_CREX, mode=0o600, max_message_size=MESSAGE_BYTES)

    def sender(self) -> Send:
        send: Send = self.queue.send
        return send

    def receiver(self) -> Receive:
        take = self.queue.receive
        return lambda: take()[0]

    def close(self) -> None:
        self.queue.remove()


class ProcessQueue(Way):
    """multiprocessing.Queue: a pipe, two locks and a thread."""

    def __init__(self, epoll: bool = False) -> None:
        self.queue: Any = FORK.Queue()

    def sender(self) -> Send:
        put: Send = self.queue.put
        return put

    def receiver(self) -> Receive:
        get: Receive = self.queue.get
        return get


class ProcessPipe(Way):
    """multiprocessing.Pipe: a socket pair."""

    def __init__(self, epoll: bool = False) -> None:
        self.out, self.into = FORK.Pipe(duplex=False)

    def sender(self) -> Send:
        return self.into.send

    def receiver(self) -> Receive:
        receive: Receive = self.out.recv
        return receive


class ManagerQueue(Way):
    """multiprocessing.Manager().Queue: a server process in between."""

    def __init__(self, epoll: bool = False) -> None:
        self.manager = FORK.Manager()
        self.queue: Any = self.manager.Queue()

    def sender(self) -> Send:
        put: Send = self.queue.put
        return put

    def receiver(self) -> Receive:
        get: Receive = self.queue.get
        return get

    def close(self) -> None:
        self.manager.shutdown()


class FasterFifo(Way):
    """faster_fifo: a ring in shared memory."""

    def __init__(self, epoll: bool = False) -> None:
        module: Any = importlib.import_module("faster_fifo")
        self.queue = module.Queue(max_size_bytes=16_000_000)

    def sender(self) -> Send:
        return lambda body: self.queue.put(body, timeout=60)

    def receiver(self) -> Receive:
        return lambda: self.queue.get(timeout=60)


class ZeroMQ(Way):
    """pyzmq, PUSH to PULL over ipc://."""

    def __init__(self, epoll: bool = False) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="haypile-bench-")
        self.address = "ipc://" + os.path.join(self.directory.name, "way")
        self.zmq: Any = importlib.import_module("zmq")

    def sender(self) -> Send:
        socket = self.zmq.Context.instance().socket(self.zmq.PUSH)
        socket.connect(self.address)
        send: Send = socket.send
        return send

    def receiver(self) -> Receive:
        socket = self.zmq.Context.instance().socket(self.zmq.PULL)
        socket.bind(self.address)
        receive: Receive = socket.recv
        return receive

    def close(self) -> None:
        self.directory.cleanup()

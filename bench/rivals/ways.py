"""Every way by its name: the rivals of ``ends``, and haypile's queues beside the ones they stand in for.

Owns: how queues of ``haypile.queues``, of ipcqueue and queues of other programs are used.
Must not know: what is measured.

haypile's state is a directory of each way's own, made before the fork and removed after it.
"""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from bench.rivals.ends import (
    MESSAGE_BYTES,
    MESSAGES,
    FasterFifo,
    ManagerQueue,
    PosixQueue,
    ProcessPipe,
    ProcessQueue,
    Receive,
    Send,
    SysVQueue,
    Way,
    ZeroMQ,
)
from bench.transports import SHARED_MEMORY


class OfOurs(Way):
    """A way with a state directory."""

    def __init__(self) -> None:
        place = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
        self.directory = tempfile.mkdtemp(prefix="haypile-bench-", dir=place)
        # Way by way: there and back are two of them in one process.
        os.environ["HAYPILE_DIR"] = self.directory
        os.environ.pop("HAYPILE_URL", None)
        self.queues: Any = importlib.import_module("haypile.queues")

    def close(self) -> None:
        shutil.rmtree(self.directory)


class OurQueue(OfOurs):
    """haypile.queues.Queue."""

    url = "posix:///bench"

    def __init__(self, epoll: bool = False) -> None:
        super().__init__()
        self.queue: Any = self.queues.Queue(url=self.url)

    def sender(self) -> Send:
        put: Send = self.queue.put
        return put

    def receiver(self) -> Receive:
        get: Receive = self.queue.get
        return get

    def close(self) -> None:
        self.queue.close()
        self.queue.unlink()
        super().close()


class OurSysVQueue(OurQueue):
    """The same on System V lanes."""

    url = "sysv:///bench"


class OurPipe(OfOurs):
    """haypile.queues.Pipe."""

    def __init__(self, epoll: bool = False) -> None:
        super().__init__()
        self.out, self.into = self.queues.Pipe(duplex=False, url="posix:///bench")

    def sender(self) -> Send:
        send: Send = self.into.send
        return send

    def receiver(self) -> Receive:
        receive: Receive = self.out.recv
        return receive


class Shaped(Way):
    """ipcqueue's shape: text, for its pickles make twice as much of bytes."""

    def __init__(self, module: str) -> None:
        made: Any = importlib.import_module(module)
        self.posix = module.endswith("posixmq")
        if self.posix:
            self.queue: Any = made.Queue(f"/bench-{secrets.token_hex(6)}", MESSAGES, MESSAGE_BYTES)
        else:
            self.queue = made.Queue(secrets.randbelow(2**31 - 1) + 1)

    def sender(self) -> Send:
        put: Send = self.queue.put
        return put

    def receiver(self) -> Receive:
        get: Receive = self.queue.get
        return get

    def body(self, size: int) -> Any:
        return "x" * size

    def close(self) -> None:
        if self.posix:
            self.queue.unlink()
        self.queue.close()


def shaped(module: str) -> Callable[[bool], Way]:
    """Makes ways of that module; they wait in the kernel."""
    return lambda epoll: Shaped(module)


class Foreign(OfOurs):
    """A bare posix_ipc queue with a haypile program, which attached it, at one end."""

    def __init__(self, epoll: bool = False) -> None:
        super().__init__()
        module: Any = importlib.import_module("posix_ipc")
        self.name = f"/bench-{secrets.token_hex(6)}"
        self.queue = module.MessageQueue(
            self.name, module.O_CREX, mode=0o600, max_messages=MESSAGES, max_message_size=MESSAGE_BYTES
        )

    def channel(self) -> Any:
        """The program's, with the queue attached."""
        haypile: Any = importlib.import_module("haypile")
        channel = haypile.BlockingConnection(haypile.URLParameters("posix:///bench")).channel()
        channel.queue_declare("raw", arguments={"x-kernel-queue": f"posix:{self.name}"})
        return channel

    def close(self) -> None:
        self.queue.unlink()
        self.queue.close()
        super().close()


class ForeignIn(Foreign):
    """posix_ipc sends, haypile consumes with automatic acknowledgement."""

    def sender(self) -> Send:
        send: Send = self.queue.send
        return send

    def taker(self) -> Callable[[int], None]:
        channel = self.channel()
        got = 0

        def receive(*_: Any) -> None:
            nonlocal got
            got += 1

        def take(count: int) -> None:
            nonlocal got
            while got < count:
                channel.connection.process_data_events(None)
            got -= count

        channel.basic_consume("raw", receive, auto_ack=True)
        return take


class ForeignOut(Foreign):
    """haypile publishes, posix_ipc receives."""

    def sender(self) -> Send:
        publish = self.channel().basic_publish
        return lambda body: publish("", "raw", body)

    def receiver(self) -> Receive:
        receive = self.queue.receive
        return lambda: receive()[0]


WAYS: dict[str, Callable[[bool], Way]] = {
    "posix_ipc": PosixQueue,
    "sysv_ipc": SysVQueue,
    "mp.Queue": ProcessQueue,
    "mp.Pipe": ProcessPipe,
    "mp.Manager.Queue": ManagerQueue,
    "faster_fifo": FasterFifo,
    "pyzmq": ZeroMQ,
    "Queue": OurQueue,
    "Queue-sysv": OurSysVQueue,
    "Pipe": OurPipe,
    "posixmq": shaped("haypile.queues.posixmq"),
    "sysvmq": shaped("haypile.queues.sysvmq"),
    "ipcqueue.posixmq": shaped("ipcqueue.posixmq"),
    "ipcqueue.sysvmq": shaped("ipcqueue.sysvmq"),
    "foreign-in": ForeignIn,
    "foreign-out": ForeignOut,
}

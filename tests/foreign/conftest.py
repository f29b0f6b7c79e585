"""Kernel queues as other programs make them, gone after the test, and channels to a vhost."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import posix_ipc
import pytest
import sysv_ipc

import haypile as pika
from tests.support.vhosts import Vhost

#: Messages of a POSIX one: as few as show what they have to, the limit is for all the tests of a user.
DEPTH = 4


class Stranger:
    """A raw kernel queue and the address by which haypile attaches it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.queue: Any
        if kind == "posix":
            # Not named like a lane of ours: nobody else's tests look at it.
            name = f"/stranger-{secrets.token_hex(6)}"
            self.queue = posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_messages=DEPTH, max_message_size=8192)
            self.queue.block = False
            self.address = f"posix:{name}"
        else:
            key = secrets.randbelow(2**31 - 1) + 1
            self.queue = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600, 8192)
            self.address = f"sysv:{key}"

    def send(self, body: bytes, number: int = 1) -> None:
        """As its owner sends."""
        if self.kind == "posix":
            self.queue.send(body, priority=number)
        else:
            self.queue.send(body, False, number)

    def receive(self) -> tuple[bytes, int] | None:
        """As its owner receives."""
        try:
            received: tuple[bytes, int] = (
                self.queue.receive() if self.kind == "posix" else self.queue.receive(False)
            )
        except (posix_ipc.BusyError, sysv_ipc.BusyError):
            return None
        return received

    def depth(self) -> int:
        """Messages in it."""
        return int(self.queue.current_messages)

    def number(self, properties: Any) -> int:
        """The number in a delivery's properties."""
        return int(properties.priority if self.kind == "posix" else properties.type)

    def properties(self, number: int) -> Any:
        """Properties to publish a message with ``number``."""
        if self.kind == "posix":
            return pika.BasicProperties(priority=number)
        return pika.BasicProperties(type=str(number))

    def remove(self) -> None:
        """As its owner ends it."""
        if self.kind == "posix":
            with contextlib.suppress(posix_ipc.ExistentialError):
                self.queue.unlink()
            self.queue.close()
        else:
            with contextlib.suppress(sysv_ipc.ExistentialError):
                self.queue.remove()


@pytest.fixture(params=["posix", "sysv"])
def stranger(request: pytest.FixtureRequest) -> Iterator[Stranger]:
    """A queue that is not haypile's, of each kind."""
    made = Stranger(request.param)
    yield made
    made.remove()


@pytest.fixture
def url(make_vhost: Callable[[str], Vhost]) -> str:
    """A fresh vhost's."""
    return make_vhost("posix").url


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Any]]:
    """Makes channels, each on a connection of its own."""
    connections = []

    def make() -> Any:
        connections.append(pika.BlockingConnection(pika.URLParameters(url)))
        return connections[-1].channel()

    yield make
    for connection in connections:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(connect: Callable[[], Any], stranger: Stranger) -> Any:
    """A channel with the queue ``raw`` attached to the stranger's."""
    made = connect()
    made.queue_declare("raw", arguments={"x-kernel-queue": stranger.address})
    return made

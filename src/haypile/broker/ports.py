"""What the broker asks of the world around it, as types.

Owns: the interface between a wire (pika's side) and a session (the broker's side).
Must not know: pika's connections, event loops, descriptors' kinds.

A wire hands every method it gets from pika to ``Session.handle`` and implements
``Outbox``; the broker never blocks, never sleeps and never calls back into the
wire other than through ``Outbox``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pika.spec import BasicProperties

#: ``offload(work, done)``: run ``work`` in another thread, then call ``done`` with what it raised, or None, where
#: the session's loop turns. ``done`` may raise what the wire takes for a failure of the vhost.
Offload = Callable[[Callable[[], object], Callable[[BaseException | None], None]], None]


#: A method, properties, body.
Content = tuple[Any, BasicProperties, bytes]


class Outbox(Protocol):
    """Where a session puts what the client is to see, in this order."""

    def method(self, channel: int, method: Any) -> None:
        """Pass a method without content to the client."""

    def contents(self, channel: int, batch: Sequence[Content]) -> None:
        """Pass Basic.Return or Basic.GetOk with its content to the client, or Basic.Deliver: all for one consumer."""

    def watch(self, fd: int) -> None:
        """Call ``Session.on_ready(fd)`` whenever ``fd`` is readable (level-triggered)."""

    def unwatch(self, fd: int) -> None:
        """Stop watching ``fd``."""

    def call_at(self, deadline: float | None) -> None:
        """Call ``Session.on_timer()`` at ``deadline`` (time.monotonic() seconds); None cancels."""

    def soon(self) -> None:
        """Call ``Session.before_sleep()`` before the loop blocks again."""


class LookingOutbox(Outbox, Protocol):
    """Of a loop that looks (``Session.peek``) for a moment where messages follow closely, before it sleeps."""

    def dozes(self) -> None:
        """Call ``Session.doze()`` before the loop blocks again."""


#: ms; RabbitMQ's default is half an hour.
CONSUMER_TIMEOUT = 1_800_000
#: us: eight times what a wake-up takes in a virtual machine, or what a message and its acknowledgement take by way of
#: the store. Where both sides look no longer than that takes, both sleep, and it takes twice as long.
LOOK = 200


class VhostTarget(NamedTuple):
    """A vhost on this host: what ``Session.open`` needs to find or make it."""

    directory: Path
    #: AMQP name of the virtual host, as it appears in error texts.
    vhost: str
    #: "posix" or "sysv": which kernel queues carry its lanes.
    transport: str = "posix"
    #: "disk" (journal, survives a reboot) or "host" (survives process crashes only).
    durability: str = "disk"
    #: Where the vhost's journal is; None: it has none.
    journal: Path | None = None
    #: What must be ours alone, beside the vhost's own directory and journal: all that lies above them.
    base: Path | None = None
    journal_base: Path | None = None
    #: ms within which a delivery is to be acknowledged; 0: any time.
    consumer_timeout: int = CONSUMER_TIMEOUT
    #: Id of the group whose members share the vhost; None: it is this user's alone.
    group: int | None = None
    options: Mapping[str, str] = MappingProxyType({})
    #: us for which a loop looks for the next message before it sleeps, where they follow closely; 0: it never does.
    look: int = LOOK

"""Kernel queues that some other program owns: messages are its raw bytes, with a number.

Owns: what a foreign queue offers, and what its address says.
Must not know: AMQP; records.

The number is a POSIX message's priority or a System V message's type. Nothing here ever resizes or
removes a queue; one is made only when sizes for it are given. Addresses: ``posix:/NAME``, ``sysv:KEY``
(decimal or 0x hexadecimal).
"""

from __future__ import annotations

from ctypes import c_void_p
from typing import NamedTuple, Protocol

from haypile.lanes.errors import LaneError

#: Kinds of raw slots in a landing (``landing``).
POSIX, SYSV = 1, 2
#: Value of the number's word in a slot before the kernel has written there: no priority, no type.
UNSET = 0xFFFF_FFFF_FFFF_FFFF


class NotThere(LaneError):
    """There is no queue of that address, and no sizes to make one by."""


class NotAllowed(LaneError):
    """It is another user's, who does not let us."""


class Address(NamedTuple):
    """Which queue."""

    kind: int
    #: ``/NAME`` of a POSIX queue, the key of a System V queue as a number.
    name: str
    #: Sizes for making it when it is not there, 0: the system's; None: it is not made.
    maxmsg: int | None = None
    msgsize: int | None = None

    @classmethod
    def parse(cls, text: str, maxmsg: int | None = None, msgsize: int | None = None) -> Address:
        """Raises ValueError, which says what is wrong."""
        scheme, _, name = text.partition(":")
        if scheme == "posix":
            if not name.startswith("/") or "/" in name[1:] or not 1 < len(name.encode()) <= 255 or "\0" in name:
                raise ValueError("expected posix:/NAME, with one slash")
            return cls(POSIX, name, maxmsg, msgsize)
        if scheme == "sysv":
            key = int(name, 0)
            if not 0 < key < 2**31:
                raise ValueError("expected sysv:KEY, a number from 1 to 2147483647")
            return cls(SYSV, str(key), maxmsg, msgsize)
        raise ValueError("expected posix:/NAME or sysv:KEY")

    @property
    def makes(self) -> bool:
        """Whether the queue is made when it is not there."""
        return self.maxmsg is not None or self.msgsize is not None

    def __str__(self) -> str:
        return f"{'posix' if self.kind == POSIX else 'sysv'}:{self.name}"


class ForeignLane(Protocol):
    """A handle of a queue that others own."""

    kind: int
    #: Readable while something is in the queue (until ``receive`` has found it empty).
    fd: int
    #: Bytes before the record that ``receive_into`` writes to.
    lead: int
    #: Largest body, bytes.
    msgsize: int

    def send(self, body: bytes, number: int) -> bool:
        """Send; False when the queue is full. Raises ``LaneGone``, ``TooBig``, ``NotAllowed``."""

    def send_wait(self, body: bytes, number: int, seconds: float) -> bool:
        """Send, waiting up to ``seconds`` for room."""

    def receive(self) -> tuple[bytes, int] | None:
        """The next message and its number, None when there is none. Raises ``LaneGone``, ``NotAllowed``."""

    def receive_some(self, most: int) -> list[tuple[bytes, int]]:
        """Up to ``most`` messages, fewer when there are no more. Raises as ``receive``, but keeps what it has got."""

    def receive_into(self, address: c_void_p) -> int:
        """Receive into a landing's slot; the body's length, -1 when there is nothing."""

    def depth(self) -> int:
        """Messages in it. Raises ``LaneGone``."""

    def gone(self) -> bool:
        """Whether its owner removed it."""

    def close(self) -> None:
        """Give the handle back. Idempotent."""

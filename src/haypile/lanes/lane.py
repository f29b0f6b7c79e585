"""What a lane is: a kernel queue as the broker uses it.

Owns: the interface that every kind of kernel queue offers.
Must not know: any kind in particular.

Lanes carry records (bytes) and tokens (no bytes). No call blocks but ``send_wait``. A handle
belongs to one thread at a time; the kernel queue behind it is shared by all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ctypes import c_void_p
from typing import Protocol

from haypile.lanes.limits import LaneRoom


class Lane(Protocol):
    """A handle of one kernel queue."""

    @property
    def name(self) -> str:
        """Under which other processes open it."""

    @property
    def fd(self) -> int | None:
        """Readable (level-triggered) while the lane is not empty; None where the kernel has no such
        descriptor, and a bell must be rung instead."""

    @property
    def lead(self) -> int:
        """Bytes that ``receive_into`` writes before the address it is given."""

    @property
    def maxmsg(self) -> int:
        """Records it holds."""

    @property
    def msgsize(self) -> int:
        """Bytes of the largest record it takes."""

    @property
    def ours(self) -> bool:
        """Whether this user may remove it; else it is of another member of the group that shares it.

        Raises ``LaneGone``.
        """

    def send(self, record: bytes) -> bool:
        """Send; False when the lane is full. Raises ``LaneGone``, ``TooBig``."""

    def send_wait(self, record: bytes, seconds: float, consumers: int = 1) -> bool:
        """Send, waiting up to ``seconds`` for room, which ``consumers`` make. Raises ``LaneGone``, ``TooBig``."""

    def receive(self) -> bytes | None:
        """The oldest record, b"" for a token, None when the lane is empty. Raises ``LaneGone``."""

    def receive_some(self, most: int) -> list[bytes]:
        """Up to ``most`` records and tokens, oldest first. Raises ``LaneGone`` where it has none to give before."""

    def receive_into(self, address: c_void_p) -> int:
        """Receive straight into memory of at least ``msgsize`` bytes, which is there for certain.

        ``address`` is ``lead`` bytes before the place where the record goes. Returns the record's
        length (0: a token), -1 when the lane is empty. Raises ``LaneGone``.
        """

    def depth(self) -> int:
        """Records and tokens in it. Raises ``LaneGone``."""

    def seal(self) -> None:
        """Nothing is sent any more (``send`` says full), where removal would take what is sent with it.

        For a lane about to be drained and removed. Raises ``LaneGone``.
        """

    def unseal(self) -> None:
        """It stays after all. Raises ``LaneGone``."""

    def close(self) -> None:
        """Give the handle back; what is in the lane stays. Idempotent."""

    def unlink(self) -> None:
        """Remove its name: nobody can open it any more. Handles that are open go on, where the kernel
        has names for queues. Idempotent."""


class Lanes(Protocol):
    """Makes and opens lanes of one kind."""

    @property
    def pollable(self) -> bool:
        """Whether lanes have a descriptor to wait for."""

    def create(
        self, prefix: str, room: LaneRoom | None = None, announce: Callable[[str], None] | None = None
    ) -> Lane | None:
        """A new lane, its name random after ``prefix``; None when the kernel has no room for it.

        ``announce`` is told its label before it is made (there may be several calls, and none is made).
        """

    def label(self, name: str) -> str:
        """What the lane called ``name`` was announced as: a file's name."""

    def is_there(self, name: str) -> bool:
        """Whether there is a lane called ``name``, if perhaps one that cannot be opened now."""

    def unlink_label(self, label: str) -> bool:
        """Remove the lane announced as ``label``, if it is there; False when it is another user's, and stays."""

    def room(self, lanes: Iterable[tuple[int, int]]) -> LaneRoom:
        """What room there is for a lane beside ``lanes``, which are (maxmsg, msgsize)."""

    def unlink(self, name: str) -> bool:
        """Remove the name of a lane, if it is there; False when it is another user's, and stays."""

    def open(self, name: str) -> Lane | None:
        """The lane called ``name``; None when it is gone."""

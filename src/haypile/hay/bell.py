"""A bell: how one session makes another one's loop turn.

Owns: a FIFO whose only message is that there is one.
Must not know: who rings and why.

The owner opens it for reading and writing, so that it is never at its end and ringing never
fails for want of a reader. A full bell has been rung often enough.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from haypile.hay.errors import OutOfRoom, explain
from haypile.hay.places import share

_ROOM = 4096


class Bell:
    """The owner's end of a bell. ``fd`` is readable once it was rung, until ``drain``."""

    def __init__(self, path: str, directory: Path) -> None:
        """Make the bell at ``path`` in ``directory``.

        Raises ``OutOfRoom`` when it cannot be made.
        """
        try:
            os.mkfifo(path, 0o600)
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            share(self.fd, directory)
        except OSError as error:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error

    def ring(self) -> None:
        """Make ``fd`` readable. From any thread, and from signal handlers."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, b"!")

    def drain(self) -> None:
        """Make it silent again."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fd, _ROOM)) == _ROOM:
                pass

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_to_ring(path: str) -> int | None:
    """A descriptor to ring the bell at ``path`` by; None when nobody would hear it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        # ENOENT: gone. ENXIO: its owner died.
        return None

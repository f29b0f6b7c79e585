"""Kernel queues that may exist: none is forgotten, whoever is killed.

Owns: the directory ``lanes`` of a vhost, with an empty file for every lane that may exist.
Must not know: which lanes the vhost's queues have now (its callers do), kinds of kernel queues.

A kernel queue outlives its maker, and a killed one leaves no trace of it where its row was not
committed yet, or was just deleted. So a lane is announced before it is made and denied after it is
removed, each of them under the write lock; what is announced while no queue has it is removed by
the next who looks (``sweep``), under the write lock, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from haypile.hay.errors import OutOfRoom, explain
from haypile.hay.places import make_private, share


class Announced:
    """The lanes of one vhost that may exist, by their labels (``Lanes.label``)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def announce(self, label: str) -> None:
        """A lane is about to be made. Raises ``OutOfRoom``."""
        try:
            self._make(label)
        except FileNotFoundError:
            make_private(self.directory)
            self._make(label)

    def _make(self, label: str) -> None:
        path = self.directory / label
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            share(fd, self.directory)
            os.close(fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error

    def deny(self, label: str) -> None:
        """The lane is gone."""
        (self.directory / label).unlink(missing_ok=True)

    def labels(self) -> set[str]:
        """Of all lanes that may exist."""
        try:
            return set(os.listdir(self.directory))
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise OutOfRoom(f"cannot read {self.directory}: {explain(error, self.directory)}") from error

    def sweep(self, known: set[str], unlink: Callable[[str], bool]) -> None:
        """Remove every lane that is not ``known``. Under the write lock.

        One that ``unlink`` says is still there (it is another's) is left to its owner.
        """
        for label in self.labels() - known:
            if unlink(label):
                self.deny(label)

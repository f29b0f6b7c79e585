"""The stores that are open in this process, and what a fork does to them.

Owns: the table of open stores and its lock; the order in which locks are taken around a fork.
Must not know: how a store lets go of its environment (``Hay.before_fork``).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haypile.hay.store import Hay


class Stores:
    """The open stores, by device and inode of their directory."""

    def __init__(self) -> None:
        #: Held while one is opened or closed. A store's own lock is taken first.
        self.lock = threading.Lock()
        self.open: dict[tuple[int, int], Hay] = {}
        self._held: list[Hay] = []

    def before_fork(self) -> None:
        """Hold every write lock, then the table: in that order, as ``Hay.close`` does."""
        while True:
            hays = list(self.open.values())
            for hay in hays:
                hay.before_fork()
            self.lock.acquire()
            if hays == list(self.open.values()):
                self._held = hays
                return
            self.lock.release()
            for hay in hays:
                hay.lock.release()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        self.lock.release()
        held, self._held = self._held, []
        for hay in held:
            hay.lock.release()

    def after_fork_in_child(self) -> None:
        """Nothing of the parent's locks is ours."""
        self.lock = threading.Lock()
        held, self._held = self._held, []
        for hay in held:
            hay.after_fork_in_child()


STORES = Stores()

os.register_at_fork(
    before=STORES.before_fork,
    after_in_parent=STORES.after_fork_in_parent,
    after_in_child=STORES.after_fork_in_child,
)

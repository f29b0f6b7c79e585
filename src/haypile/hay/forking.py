"""The stores and journals that are open in this process, and what a fork does to them.

Owns: the table of open stores and its lock, the set of journals; the order in which locks are taken around a fork:
the journals' first, as they are taken before the stores'.
Must not know: how a store or a journal lets go of its environment.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haypile.hay.journal import Journal
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


class Journals(weakref.WeakSet["Journal"]):
    """The journals of this process, and which directory each is in."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._by_place: weakref.WeakValueDictionary[Path, Journal] = weakref.WeakValueDictionary()

    def at(self, place: Path, make: Callable[[], Journal]) -> Journal:
        """The journal in ``place``, from ``make`` if there is none.

        Two would share a file lock that belongs to the process, not to them, and LMDB opens nothing twice:
        a store may still be closing when the next one on the same directory opens.
        """
        with self._lock:
            journal = self._by_place.get(place)
            if journal is None:
                journal = self._by_place[place] = make()
            return journal

    def after_fork_in_child(self) -> None:
        """Another thread of the parent may have had the lock."""
        self._lock = threading.Lock()


JOURNALS = Journals()
_held: list[Journal] = []


def _before_fork() -> None:
    """LMDB may not be taken across a fork; parent and child open it anew when they need it."""
    _held[:] = sorted(JOURNALS, key=id)
    for journal in _held:
        alone = not journal.mutex._is_owned()
        journal.mutex.acquire()
        if alone:
            journal.close_files()


def _after_fork_in_parent() -> None:
    for journal in _held:
        journal.mutex.release()
    _held.clear()


def _after_fork_in_child() -> None:
    JOURNALS.after_fork_in_child()
    for journal in _held:
        journal.mutex = threading.RLock()
        journal.close_files()
    _held.clear()


# Registered last, and so called first.
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

"""The file lock that all processes of a vhost share.

Owns: the file ``lock``, waiting for it, and holding it without a transaction.
Must not know: what it protects.

It is a ``lockf`` lock: the kernel drops it when its process ends, and a forked child has none. Between
the threads of a process ``Hay.lock`` decides first, since all of them count as one owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from haypile.hay.errors import LIMITS, HayClosed, OutOfRoom, UnusableDirectory, explain
from haypile.hay.places import MOMENT, group_of, share

if TYPE_CHECKING:
    from haypile.hay.store import Hay

#: Looks for a lock that is taken, before its process sleeps. A transaction takes 20 us or so; to put a process to sleep
#: and to wake it takes both longer.
LOOKS = 40
#: Seconds for which who only takes messages leaves a taken lock alone: there is more to take then. A publisher and its
#: consumer would take turns at the lock for each single message else.
GATHER = 0.00015
#: What ``lockf`` says of a lock that is taken.
TAKEN = (errno.EAGAIN, errno.EACCES)
#: Seconds between tries when the kernel takes two waiting threads of one process for a deadlock.
DEADLOCK_PAUSE = 0.0005


def open_lock(path: Path, create: bool) -> int:
    """The lock file at ``path``, opened once per process: closing any descriptor of it drops the lock.

    Raises ``UnusableDirectory`` when it cannot be opened, or is not there and not to be made.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    deadline = time.monotonic() + MOMENT
    try:
        while True:
            try:
                fd = os.open(path, flags | os.O_CREAT if create else flags, 0o600)
                share(fd, path.parent)
                return fd
            except PermissionError:
                # Another member of the group is making it just now.
                if group_of(path.parent) is None or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    except FileNotFoundError:
        raise UnusableDirectory(f"{path.parent} holds no store; connect once to make it") from None
    except OSError as error:
        if error.errno in LIMITS:
            raise OutOfRoom(f"cannot open {path}: {explain(error, path)}") from error
        raise UnusableDirectory(f"cannot open {path}: {error.strerror}; remove it, or its directory") from error


def was_removed(hay: Hay) -> bool:
    """Whether somebody deleted the vhost's files under us: what is open works on, but nobody else finds it."""
    return os.fstat(hay.lock_fd).st_nlink == 0


def check_place(hay: Hay) -> None:
    """Raises ``UnusableDirectory`` when the vhost's files were deleted."""
    if was_removed(hay):
        raise removed(hay)


def removed(hay: Hay) -> UnusableDirectory:
    """What to say when the vhost's files were deleted."""
    return UnusableDirectory(
        f"{hay.directory} was removed while it was in use, with all its queues and messages; connect again for a new "
        "vhost"
    )


def wait_for(fd: int) -> None:
    """Take the lock of the file ``fd``, in spite of false alarms.

    Threads of two processes that wait for two vhosts' locks crosswise look like a deadlock to the
    kernel, which thinks of processes: it is none.
    """
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            return
        except OSError as error:
            if error.errno != errno.EDEADLK:
                raise
            time.sleep(DEADLOCK_PAUSE)


def take(hay: Hay, gather: float = 0.0) -> None:
    """Wait for the file lock; others run between two looks, of which the first is due in ``gather`` seconds.

    Raises ``HayClosed``.
    """
    at_once = hay.lock_at_once
    if gather:
        # Awake, for whoever sleeps instead comes to cold caches.
        until = time.monotonic() + gather
        while time.monotonic() < until:
            os.sched_yield()
    for _ in range(LOOKS):
        try:
            at_once()
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        os.sched_yield()
    wait_for(hay.lock_fd)


def refuse(directory: Path) -> None:
    """Stands for locking in a store that was closed. Raises ``HayClosed``."""
    raise HayClosed(f"the store in {directory} was closed")


def nothing() -> None:
    """Stands for unlocking where there is nothing to unlock."""


class Exclusive:
    """See ``Hay.exclusive``. No generator: a forgotten one would unlock when it is collected."""

    __slots__ = ("_hay", "_nested")

    def __init__(self, hay: Hay) -> None:
        self._hay = hay
        self._nested = False

    def __enter__(self) -> None:
        hay = self._hay
        self._nested = hay.lock._is_owned() and hay.holds_file
        if self._nested:
            return
        try:
            hay.lock.acquire()
            take(hay)
            hay.in_exclusive = True
        except BaseException:
            if hay.lock._is_owned():
                try:
                    hay.unlock_file()
                finally:
                    hay.lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        if self._nested:
            return
        hay = self._hay
        hay.in_exclusive = False
        try:
            hay.unlock_file()
        finally:
            hay.lock.release()

"""The write lock for those that must not wait for it: an event loop has other work.

Owns: trying for it, and holding it ahead of transactions that are sure to follow.
Must not know: what is done under it.

Transactions are short, so mostly a few microseconds are enough. But whoever holds the lock may have been taken off its
processor, or be stopped: then the caller comes again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from haypile.hay.errors import Busy
from haypile.hay.locking import TAKEN, nothing

if TYPE_CHECKING:
    from haypile.hay.reading import ReadTxn
    from haypile.hay.store import Hay

#: Longest try, and the pause before the next one, seconds.
TRY, PAUSE = 0.0002, 0.001

#: What ``Hay.hasty`` is set to.
this_thread = threading.get_ident
#: For other threads: let the loops have their turn.
pause = time.sleep


def take_at_once(hay: Hay) -> None:
    """Take the thread's lock and the file lock, for the thread that is ``hay.hasty``; for others the first one only.

    Raises ``Busy`` when they cannot be had, and has neither then.
    """
    if hay.hasty == this_thread():
        _take(hay)
    else:
        hay.lock.acquire()


def _take(hay: Hay) -> None:
    until = time.monotonic() + TRY
    if not hay.lock.acquire(timeout=TRY):
        raise Busy(f"the write lock of {hay.directory} is held by another thread")
    if hay.holds_file:
        return
    try:
        while True:
            try:
                hay.lock_at_once()
                return
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
            if time.monotonic() > until:
                raise Busy(f"the write lock of {hay.directory} is held by another process")
            time.sleep(0)
    except BaseException:
        hay.lock.release()
        raise


def await_reader(hay: Hay, spares: list[ReadTxn]) -> ReadTxn | None:
    """The reader at hand, which another thread has: ``spares`` is where it comes back.

    Any other reader begins under the file lock. So the thread that is ``hay.hasty`` waits for a moment: the other one
    was about to give it back when the interpreter's lock was taken from it. None: it did not come back.
    """
    if hay.hasty != this_thread():
        return None
    until = time.monotonic() + TRY
    while time.monotonic() < until:
        time.sleep(0)
        with suppress(IndexError):
            return spares.pop()
    return None


def hold(hay: Hay) -> bool:
    """Have this thread hold the write lock until ``let_go``, over any number of transactions; False: it is busy."""
    try:
        _take(hay)
    except Busy:
        return False
    if not hay.holds:
        hay.in_exclusive = True
        hay.unlock_file = nothing
    hay.holds += 1
    return True


def let_go(hay: Hay) -> None:
    """Undo one ``hold``, unless an error has undone all of them."""
    if not hay.holds or not hay.lock._is_owned():
        return
    hay.holds -= 1
    if not hay.holds:
        hay.in_exclusive = False
        hay.unlock_file = hay.drop_file
        hay.unlock_file()
    hay.lock.release()


@contextmanager
def hasty(hay: Hay) -> Iterator[None]:
    """Have this thread's transactions raise ``Busy`` where they would wait."""
    before, hay.hasty = hay.hasty, this_thread()
    try:
        yield
    finally:
        hay.hasty = before

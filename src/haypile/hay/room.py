"""Room: how much is left, the alarm, and what is kept back for the moment when nothing is.

Owns: the file ``reserve`` beside the data, the alarm word of the gate page, and when it is set.
Must not know: who publishes, and that publishers stop while there is an alarm (the broker).

A transaction that only deletes needs fresh pages, too (LMDB never overwrites a page in use), so
consumers would stand still when memory is full. Publishers therefore ask before they put anything
(``Hay.admit``) and are refused while there is little left; and for the case that something else
fills the file system, some of it is kept in a file of no content, which is given up the first
time that a transaction finds no room, if it is not a publisher's: who puts in can wait, who takes out cannot.
LMDB's file never shrinks, so its own free pages count as room, as far as they have not been given back
(``holes``): sessions see to that about once a second, and who leaves.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb

from haypile.hay import holes
from haypile.hay.errors import REMEDY, HayError, OutOfRoom
from haypile.hay.layout import OFFSET_ROW
from haypile.hay.places import share

if TYPE_CHECKING:
    from haypile.hay.store import Hay

LOGGER = logging.getLogger("haypile")

#: Bytes kept back, if there are as many.
RESERVE = 1 << 19
#: The alarm is on below this share of the file system, but at most this many bytes (RabbitMQ's
#: disk_free_limit default is 50 MB); it goes off at twice as much.
LOW_SHARE = 8
LOW_MOST = 50_000_000
#: Publishers of one process ask anew after they used this share of what there was.
BUDGET_SHARE = 8
#: Bytes that a message takes in the store besides its record, about.
MESSAGE_COST = 128
#: Seconds until space is given back again, after there was none to give.
RESPITE = 30.0


def keep_back(place: Path) -> None:
    """Have a reserve in the store's directory ``place``, as large as may be."""
    fd = os.open(place / "reserve", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        share(fd, place)
        state = os.fstatvfs(fd)
        size = min(RESERVE, state.f_bavail * state.f_frsize // 2)
        if size:
            os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(fd)


def run_out(hay: Hay, *, patient: bool = False) -> None:
    """There was no room: set the alarm, and give the reserve to who comes next, unless it was a ``patient`` one.

    Under the write lock.
    """
    if not patient:
        os.truncate(hay.directory / "hay" / "reserve", 0)
    hay.gates.alarm = 1


def used(hay: Hay) -> int:
    """Bytes that the store's data takes."""
    return os.stat(hay.directory / "hay" / "data.mdb").st_blocks * 512


def free_outside(hay: Hay) -> int:
    """Bytes left where the store lies."""
    state = os.statvfs(hay.directory)
    return state.f_bavail * state.f_frsize


def free_inside(hay: Hay) -> int:
    """Bytes that the store's file takes, that hold nothing and will be used again."""
    live, page_size = live_pages(hay)
    return max(0, used(hay) - live * page_size)


def live_pages(hay: Hay) -> tuple[int, int]:
    """How many pages hold data (the list of free ones not among them), and the size of one."""
    with hay.read() as txn:
        trees = [hay.env.stat(), *(txn.tree_stat(tree) for tree in (hay.db_rows, hay.db_log, hay.db_body))]
    live = sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)
    return live, trees[0]["psize"]


def give_back(hay: Hay, *, wholly: bool = False) -> int:
    """Give space back to the file system, if it is worth while; how many bytes.

    A part at a time, since others wait meanwhile, unless ``wholly``. Not inside a transaction.
    """
    if time.monotonic() < hay.respite:
        return 0
    try:
        fd = os.open(hay.directory / "hay" / "data.mdb", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    given, file = 0, holes.Holes(fd)
    try:
        while holes.is_worth_while(fd, 0):
            live, page_size = live_pages(hay)
            if not holes.is_worth_while(fd, live * page_size):
                break
            if wholly and not given:
                # What the last transaction freed is given back after the next one.
                with hay.write() as txn:
                    txn.put_internal(OFFSET_ROW, hay.offset.to_bytes(8, "big", signed=True))
            with hay.exclusive():
                live, _ = live_pages(hay)
                # Killed readers need nothing any more.
                hay.env.reader_check()
                part = file.give_back(live, holes.oldest_view(hay.env))
            given += part
            if part <= 0:
                hay.respite = time.monotonic() + RESPITE
            if part <= 0 or not wholly:
                break
    except (lmdb.Error, HayError, OSError) as error:
        # Whoever uses the store meets it, too.
        LOGGER.debug("no space given back in %s: %s", hay.directory, error)
    finally:
        os.close(fd)
    return given


def left(hay: Hay) -> int:
    """Bytes that messages may still take."""
    return free_outside(hay) + free_inside(hay)


def low_mark(hay: Hay) -> int:
    """Bytes left below which publishers are to wait."""
    state = os.statvfs(hay.directory)
    return min(state.f_blocks * state.f_frsize // LOW_SHARE, LOW_MOST)


def spare(hay: Hay) -> int:
    """Bytes that something beside the store may take, where it lies, and neither set off an alarm nor keep one on."""
    return max(0, free_outside(hay) - 2 * low_mark(hay))


def budget(hay: Hay, size: int = 0) -> int:
    """Bytes that this process may publish before it asks again; ``size``: what it is about to.

    Raises ``OutOfRoom``, and sets the alarm, when there is too little left.
    """
    free, low = left(hay), low_mark(hay)
    if (hay.gates.alarm and look(hay)) or free - size < low:
        hay.gates.alarm = 1
        raise OutOfRoom(f"low on memory: only {free} bytes are left in {hay.directory}; {REMEDY}")
    return (free - low) // BUDGET_SHARE


def tend(hay: Hay) -> None:
    """What every session does about once a second: the alarm, and giving space back."""
    look(hay)
    give_back(hay)


def look(hay: Hay) -> bool:
    """Set the alarm by what room is left, and return it.

    The reserve is kept back anew when there is room again.
    """
    free, low = left(hay), low_mark(hay)
    if free < low:
        hay.gates.alarm = 1
    elif hay.gates.alarm and free > 2 * low:
        with hay.exclusive():
            keep_back(hay.directory / "hay")
            hay.gates.alarm = 0
    return bool(hay.gates.alarm)

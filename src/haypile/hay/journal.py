"""The journal: what must survive a power cut, on a disk.

Owns: the journal's directory and lock, the flush that brings it up to date with the store, and the
filling of a new store from it.
Must not know: what rows and records mean (the broker), how changes are noted (``pending``).

The store (``store``) lives in memory; whatever of it is to be kept has a pending row until a flush has
written it here. Whoever needs it first flushes: one session for all, and one sync for all that is
pending. In the directory: ``lock``, ``base`` (LMDB) and ``log`` (what has not come into the base yet),
``reserve`` (room for the day when the disk is full).

A flush, under the journal's lock, each step harmless to repeat after a kill:

1. Under the store's lock: FLUSHING := the number of the last transaction, and a view of it.
2. What the pending rows of that view say goes into the log; a full log comes into the base first.
   It is on disk now.
3. FLUSHED := that number; whoever waits for a confirm up to it has it.
4. One transaction of the store deletes the pending rows that did not change meanwhile.

Locks are taken in this order: the journal's, then the store's. Only ``revive`` holds the store's first,
and does not wait for ever.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb

from haypile.hay import pending, room
from haypile.hay.base import Base, Contents, Operation, decode, encode, make_lasting, sync_directory
from haypile.hay.copying import LARGE, Copy, in_parts
from haypile.hay.environment import means_no_room
from haypile.hay.errors import JournalLost, OutOfRoom, UnusableDirectory
from haypile.hay.forking import JOURNALS
from haypile.hay.gates import DISK_ALARM, FLUSHED, FLUSHING, LOG_AT, LOG_CHECK, LOG_COUNT, LOG_EPOCH, PENDING
from haypile.hay.locking import open_lock, wait_for
from haypile.hay.log import FULL, PAGE, Log
from haypile.hay.places import is_begun, random_name, remove_tree
from haypile.hay.reading import ReadTxn
from haypile.hay.store import Hay

LOGGER = logging.getLogger("haypile")

#: Weight of the last time in the mean of how long writing takes.
NEWEST = 0.2
#: Pending rows deleted in one transaction of the store.
SETTLED = 1000
#: Seconds to wait for another process that has the journal while a store is made.
REVIVE_PATIENCE = 5.0

_VARIABLE = "HAYPILE_JOURNAL_DIR"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Reviver = Callable[[Hay, Contents], None]


class Journal:
    """The journal of one vhost, one object per directory and process (``JOURNALS.at``). Threads share it.

    ``keeps`` says of a topology row (key, value) whether it is to be kept; ``revive`` fills a new
    store from what the journal holds.
    """

    def __init__(
        self,
        place: Path,
        keeps: Callable[[bytes, bytes], bool],
        revive: Reviver,
        base: Path | None = None,
        group: int | None = None,
    ) -> None:
        """``base``: a directory above ``place`` that must be ours alone, too, or ``group``'s."""
        self.place = place
        self._above = base
        self._group = group
        self._copy = Copy(keeps)
        self._revive = revive
        self.mutex: Any = threading.RLock()
        self._lock_fd = -1
        self._base: Base | None = None
        self._log: Log | None = None
        #: The store has more than the files say: they were made just now.
        self._fresh = False
        self._reserve_spent = False
        #: When space may be given back again, monotonic seconds.
        self._respite = 0.0
        self.wanted = False  # somebody in this process will flush
        self.takes = 0.0  # seconds that writing takes, about
        JOURNALS.add(self)

    # -- flushing -----------------------------------------------------------------------------

    def flush(self, hay: Hay, *, wait: bool = True) -> bool:
        """Have everything on disk that the store noted up to now. Not inside a transaction.

        False when it is not, because somebody else is at it and ``wait`` is not set. Raises
        ``OutOfRoom``, ``JournalLost``, ``UnusableDirectory``; then nothing is lost but the time.
        """
        words = hay.gates.words
        goal = words[PENDING]
        if words[FLUSHED] >= goal:
            return True
        if not self.mutex.acquire(blocking=wait):
            return False
        try:
            self._prepare_lock()
            if not self._take_lock(wait):
                return False
            try:
                if words[FLUSHED] < goal:
                    self._flush(hay)
                    self._give_back(hay)
                words[DISK_ALARM] = 0
            except OutOfRoom:
                words[DISK_ALARM] = 1
                raise
            finally:
                self._drop_lock()
        finally:
            self.mutex.release()
        return True

    def _flush(self, hay: Hay) -> None:
        words = hay.gates.words
        with hay.exclusive():
            reader = hay.read_long()
            reader.__enter__()
            seen = reader.number
            words[FLUSHING] = seen
            # A transaction that was rolled back may have left a higher number.
            words[PENDING] = min(words[PENDING], seen)
        try:
            rows = [*reader.scan(pending.MESSAGE_ROW), *reader.scan(pending.TOPOLOGY_ROW)]
            if rows:
                reach("flush: read")
                start = time.monotonic()
                try:
                    self._write(hay, reader, rows)
                except (lmdb.Error, OSError) as error:
                    self._fail(error)
                took = time.monotonic() - start
                self.takes += NEWEST * (took - self.takes) if self.takes else took
        finally:
            reader.__exit__(None, None, None)
        reach("flush: on disk")
        words[FLUSHED] = seen
        if self._reserve_spent:
            room.keep_back(self.place)
            self._reserve_spent = False
        reach("flush: told")
        for start in range(0, len(rows), SETTLED):
            try:
                with hay.write() as txn:
                    txn.settle(rows[start : start + SETTLED])
            except OutOfRoom:
                # They stay, and are written once more.
                return

    def _write(self, hay: Hay, reader: ReadTxn, rows: list[tuple[bytes, bytes]]) -> None:
        base, log = self._open(hay)
        copy = self._copy
        operations = copy.everything(reader) if self._fresh else copy.changes(reader, rows)
        some: list[Operation] = []
        size = 0
        for operation in operations:
            some.append(operation)
            size += len(operation[1]) + len(operation[2])
            if size > LARGE:
                break
        words = hay.gates.words
        # Read once: what is checked is what is used.
        position = bytes(words[LOG_EPOCH : LOG_COUNT + 1])
        epoch, at, count = memoryview(position).cast("Q")
        if words[LOG_CHECK] != crc32(position):
            # Whoever wrote there was killed, or was none of us: what is in the log is looked for.
            words[LOG_EPOCH] = epoch = 0
        if epoch and size <= LARGE and not self._fresh and at + size <= FULL:
            try:
                end = log.append(epoch, at, count, encode(some))
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                log.cut(at)
            else:
                words[LOG_AT], words[LOG_COUNT] = end, count + 1
                words[LOG_CHECK] = _check(words)
                return
        self._checkpoint(words, base, log, some, in_parts(operations), hay.nonce)
        self._fresh = False

    def _checkpoint(
        self,
        words: memoryview,
        base: Base,
        log: Log,
        some: Iterable[Operation] = (),
        more: Iterable[Iterable[Operation]] = (),
        store: bytes | None = None,
    ) -> None:
        """The log comes into the base, then ``some`` and ``more``; the log starts over."""
        epoch = base.epoch + 1
        # Nobody may go on where this leaves off, should we be killed.
        words[LOG_EPOCH] = 0
        gathered = (operation for _, payload in log.batches(epoch) for operation in decode(payload))
        reach("checkpoint: begun")
        # The log and ``some`` as one: what is deleted again needs no room.
        base.take_in(chain([chain(gathered, some)], more), epoch, store=store)
        reach("checkpoint: on disk")
        if log.is_luxury:
            log.cut(PAGE)
        words[LOG_AT], words[LOG_COUNT] = PAGE, 0
        words[LOG_EPOCH] = epoch + 1
        words[LOG_CHECK] = _check(words)

    def _give_back(self, hay: Hay) -> None:
        """When the journal's file is far too large for what the store holds, give space back."""
        base, log = self._base, self._log
        if base is None or log is None or not base.could_be_smaller(0) or time.monotonic() < self._respite:
            return
        live, page_size = room.live_pages(hay)
        if base.could_be_smaller(live * page_size):
            try:
                self._checkpoint(hay.gates.words, base, log)
                if not base.give_back():
                    self._respite = time.monotonic() + room.RESPITE
            except (lmdb.Error, OSError) as error:
                # All is flushed; the next flush finds what is wrong.
                LOGGER.debug("no space given back in %s: %s", self.place, error)
                self.close_files()
                self._copy.forget()

    def _fail(self, error: lmdb.Error | OSError) -> None:
        """Writing failed: what is written and not synced cannot be relied on, so start anew."""
        self.close_files()
        self._copy.forget()
        state = os.statvfs(self.place)
        free = state.f_bavail * state.f_frsize
        full = error.errno in _NO_ROOM if isinstance(error, OSError) else means_no_room(error, free)
        if full:
            with open(self.place / "reserve", "ab") as reserve:
                reserve.truncate(0)
            self._reserve_spent = True
            raise OutOfRoom(
                f"no room left for the journal in {self.place} ({free} bytes are free): {error}; make room there, "
                f"or set {_VARIABLE} to a directory on another disk"
            ) from error
        raise JournalLost(f"cannot write the journal in {self.place}: {error}") from error

    # -- files --------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether there is anything in its directory."""
        return is_begun(self.place)

    def prepare(self) -> None:
        """Make sure of the directory, before anything is promised; within a transaction of the store.

        Raises ``UnusableDirectory`` when it cannot be had.
        """
        # Another thread that has the mutex does the same, and may wait for the store's lock, which we hold.
        if self.wanted and self._lock_fd < 0 and self.mutex.acquire(blocking=False):
            try:
                self._prepare_lock()
            finally:
                self.mutex.release()

    def _prepare_lock(self) -> None:
        if self._lock_fd >= 0:
            if os.fstat(self._lock_fd).st_nlink:
                return
            self.close_files()
            os.close(self._lock_fd)
            self._lock_fd = -1
        make_lasting(self.place, self._above, _VARIABLE, self._group)
        self._lock_fd = open_lock(self.place / "lock", create=True)

    def _take_lock(self, wait: bool) -> bool:
        if wait:
            wait_for(self._lock_fd)
            return True
        try:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _drop_lock(self) -> None:
        fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def _open(self, hay: Hay | None) -> tuple[Base, Log]:
        """The files, made if need be. Under the lock."""
        base, log = self._base, self._log
        if base is None or log is None or base.gone or log.gone:
            self.close_files()
            self._copy.forget()
            base, log = self._open_files(hay)
        if hay is not None:
            owner = base.store
            if not owner:
                self._fresh = True
            elif owner != hay.nonce:
                raise JournalLost(
                    f"the journal in {self.place} now belongs to a newer store than the one in {hay.directory}; "
                    "connect again"
                )
        return base, log

    def _open_files(self, hay: Hay | None) -> tuple[Base, Log]:
        place = self.place / "base"
        for stale in self.place.glob(".*"):
            if stale.is_dir():
                remove_tree(stale)
            else:
                stale.unlink(missing_ok=True)
        if not place.exists():
            aside = self.place / f".base.{random_name()}"
            Base.make(aside)
            os.rename(aside, place)
            (self.place / "log").unlink(missing_ok=True)
            room.keep_back(self.place)
        self._base = base = Base(place)
        try:
            self._log = log = Log.open(self.place / "log")
        except FileNotFoundError:
            # What was in it is missing in the base: the next flush writes all anew, whoever it is.
            base.take_in((), base.epoch, store=b"")
            self._log = log = Log.make(self.place / "log")
        sync_directory(self.place)
        if hay is not None:
            self._find_end(hay.gates.words, base, log)
        return base, log

    def _find_end(self, words: memoryview, base: Base, log: Log) -> None:
        """Where the log goes on, if the gate page does not know it."""
        if not words[LOG_EPOCH] or words[LOG_CHECK] != _check(words):
            epoch = base.epoch + 1
            at, count = PAGE, 0
            for end, _ in log.batches(epoch):
                at, count = end, count + 1
            words[LOG_AT], words[LOG_COUNT] = at, count
            words[LOG_EPOCH] = epoch
            words[LOG_CHECK] = _check(words)

    def close_files(self) -> None:
        """Under the mutex: the next who needs them opens them again."""
        base, log = self._base, self._log
        self._base = self._log = None
        if base is not None:
            base.close()
        if log is not None:
            log.close()

    def close(self) -> None:
        """Give everything back."""
        with self.mutex:
            self.close_files()
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1

    def let_go(self) -> None:
        """See ``Hay.let_go``."""
        mutex = self.mutex
        while mutex._is_owned():
            if self._lock_fd >= 0:
                self._drop_lock()
            mutex.release()

    # -- a new store --------------------------------------------------------------------------

    def fill(self, hay: Hay) -> None:
        """Fill the new store ``hay``, which nobody else knows of yet, and be its journal from now on.

        Raises ``UnusableDirectory`` when there is a journal that cannot be used: never is it taken for
        an empty one.
        """
        with self.mutex:
            self._prepare_lock()
            deadline = time.monotonic() + REVIVE_PATIENCE
            while not self._take_lock(False):
                if time.monotonic() > deadline:
                    raise UnusableDirectory(f"the journal in {self.place} is in use by a store that was removed")
                time.sleep(0.001)
            try:
                base, log = self._open(None)
                words = memoryview(bytearray(8 * 64)).cast("Q")
                self._checkpoint(words, base, log)
                with base.read() as contents:
                    self._revive(hay, contents)
                base.take_in((), base.epoch, store=hay.nonce)
                self._fresh = False
                reach("revive: taken over")
            except (lmdb.Error, OSError) as error:
                raise UnusableDirectory(f"cannot read the journal in {self.place}: {error}") from error
            finally:
                self._drop_lock()


# -- faults -----------------------------------------------------------------------------------


def _check(words: memoryview) -> int:
    return crc32(words[LOG_EPOCH : LOG_COUNT + 1])


def reach(point: str) -> None:
    """A test may replace this, to kill the process at ``point``."""

"""The store of a vhost: one LMDB environment and the lock, the gate page and the clock around it.

Owns: the vhost's directory, how a store is made, opened, shared in a process, and what a fork does.
Must not know: what rows and records mean.

In the directory: ``lock`` (the file lock), ``hay/`` (LMDB and ``gates``), ``sessions/``.

Why it is done this way (each was measured):

* LMDB's own write lock strands waiters when another waiter is killed, so a ``lockf`` lock is held
  around every write transaction, around opening and closing, and around taking a reader slot. It is
  opened once per process: closing any descriptor of it would drop it.
* LMDB may not be taken across a fork: the write lock is held across it, and the environment is
  closed before it, to be opened again by parent and child at their next use.
* Killed readers pin old pages until ``reader_check()``: done at opening, when room is short and
  whenever a session died.

A store of an earlier boot is thrown away: its clock stood still, its kernel queues are gone, and
without fsync its pages cannot be trusted after a power cut.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb

from haypile.hay import room
from haypile.hay.clock import monotonic_clock
from haypile.hay.environment import TREES, boot_id, build, close_inherited, means_no_room, open_environment, own_rows
from haypile.hay.errors import REMEDY, OutOfRoom, UnusableDirectory, damaged
from haypile.hay.forking import STORES
from haypile.hay.gates import USED_ROW, Gates, slots_used
from haypile.hay.haste import await_reader
from haypile.hay.layout import BOOT_ROW, NONCE_ROW, OFFSET_ROW, VERSION_ROW
from haypile.hay.locking import Exclusive, check_place, nothing, open_lock, refuse, was_removed
from haypile.hay.places import check_private, make_private, random_name, remove_tree, write_aside
from haypile.hay.reading import ReadTxn
from haypile.hay.sessions import Peers
from haypile.hay.txn import WriteTxn

if TYPE_CHECKING:
    from haypile.hay.journal import Journal

LOGGER = logging.getLogger("haypile")

#: Gives the journal that a new store is filled from, if there is one.
Revive = Callable[[], "Journal | None"]

#: Seconds a fork waits for other threads' reads to end.
FORK_PATIENCE = 0.5


class Hay:
    """A vhost's store, one object per directory and process. ``Hay.open`` it, ``close`` it.

    ``lock``, ``begin``, ``lock_at_once`` and the other names without an underscore that are not in
    the docs are for the other modules of this package.
    """

    #: LMDB's begin(db, parent, write); None while the environment is closed.
    begin: Callable[..., Any] | None
    nonce: bytes
    #: What is added to the monotonic clock, ns.
    offset: int

    def __init__(self, directory: Path, key: tuple[int, int], create: bool, revive: Revive) -> None:
        self.directory = directory
        #: What keeps durable things beyond a reboot, if anything does.
        self.journal: Journal | None = None
        self._revive = revive
        self._key = key
        self._users = 0
        #: Bytes that may be published before room is looked at again.
        self._budget = 0
        #: When space may be given back again, monotonic seconds (``room``).
        self.respite = 0.0
        self._env: Any = None
        self._monotonic_ns = monotonic_clock()
        self.begin = None
        #: The file lock is held without a transaction.
        self.in_exclusive = False
        self.db_rows: Any = None
        self.db_log: Any = None
        self.db_body: Any = None
        self.lock: Any = threading.RLock()
        self.gates: Gates
        self.lock_fd = open_lock(directory / "lock", create)
        self.lock_at_once: Callable[[], None] = partial(fcntl.lockf, self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.drop_file: Callable[[], None] = partial(fcntl.lockf, self.lock_fd, fcntl.LOCK_UN)
        self.unlock_file: Callable[[], None] = self.drop_file
        #: The thread that must not wait for the write lock just now; how often it is held ahead (``haste``).
        self.hasty = self.holds = 0
        self.peers = Peers(directory / "sessions")
        self._renew_transactions()
        try:
            with self.exclusive():
                self._open_store(create)
        except BaseException:
            self._close_env()
            os.close(self.lock_fd)
            if self.journal is not None:
                self.journal.close()
            raise

    def _renew_transactions(self) -> None:
        self._writer = WriteTxn(self)
        spare = ReadTxn(self, spare=True)
        #: The spare one while it is not in use.
        self._spare_reads = [spare]
        #: Every read transaction that is open or may be.
        self._readers = [spare]

    # -- opening and closing ------------------------------------------------------------------

    @classmethod
    def open(
        cls, directory: Path, *, create: bool = True, journal: Journal | None = None, revive: Revive | None = None
    ) -> Hay:
        """The store in ``directory`` (made when missing and ``create``, and filled from ``journal``).

        Sharing: a process has one object per directory; each ``open`` needs its ``close``. The first
        ``journal`` given stays (``Hay.journal``). ``revive`` is asked for one only when a store is made.
        Raises ``UnusableDirectory`` when the directory is not ours alone or holds no store,
        ``OutOfRoom`` when there is no memory or disk space to make one.
        """
        with STORES.lock:
            if create:
                make_private(directory)
            state = check_private(directory)
            key = state.st_dev, state.st_ino
            hay = STORES.open.get(key)
            if hay is None or was_removed(hay):
                hay = STORES.open[key] = cls(directory, key, create, revive or (lambda: journal))
            hay.journal = hay.journal or journal
            hay._users += 1
            return hay

    def close(self) -> None:
        """Undo one ``open``; the last one closes the store."""
        if self._users == 1:
            room.give_back(self, wholly=True)
        with self.lock, self.exclusive() if self._users == 1 else nullcontext(), STORES.lock:
            self._users -= 1
            if self._users:
                return
            if STORES.open.get(self._key) is self:
                del STORES.open[self._key]
            self._shut()
        if self.journal is not None:
            self.journal.close()

    def _shut(self) -> None:
        with self.exclusive():
            self._close_env()
        self.gates.close()
        self.peers.close()
        # Its number may soon be another file's.
        self.lock_at_once, self.unlock_file, self.drop_file = partial(refuse, self.directory), nothing, nothing
        os.close(self.lock_fd)

    def _open_env(self) -> None:
        self._env = env = open_environment(self.directory / "hay")
        try:
            self.db_rows, self.db_log, self.db_body = [env.open_db(name) for name in TREES]
        except lmdb.Error as error:
            raise damaged(self.directory, error) from error

    def _close_env(self) -> None:
        self.begin = None
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _open_store(self, create: bool) -> None:
        """Under the file lock: open the environment, made if need be, and the gate page."""
        place = self.directory / "hay"
        for stale in self.directory.glob(".hay.*"):
            remove_tree(stale)
        if not place.exists():
            if not create:
                raise UnusableDirectory(f"{self.directory} holds no store; connect once to make it")
            self.journal = self.journal or self._revive()
            self._build(place)
        self._open_env()
        own = own_rows(self._env)
        if own[BOOT_ROW] != boot_id():
            LOGGER.info("%s is left from before the last boot: its store is begun anew", place)
            self._close_env()
            os.rename(place, self.directory / f".hay.{random_name()}")
            self._open_store(create)
            return
        make_private(self.directory / "sessions")
        self.nonce = own[NONCE_ROW] or b""
        self.offset = int.from_bytes(own[OFFSET_ROW] or b"", "big", signed=True)
        version = int.from_bytes(own[VERSION_ROW] or b"", "big")
        self.gates = Gates(place / "gates", self.nonce, version, slots_used(own[USED_ROW]))
        self.begin = self._env.begin

    def _build(self, place: Path) -> None:
        """A new store, made aside and put in place whole."""
        aside = self.directory / f".hay.{random_name()}"
        journal = self.journal
        try:
            if journal is None or not journal.exists:
                build(aside)
                os.rename(aside, place)
                return
            make_private(aside)
            scratch = Hay(aside, (0, 0), True, nothing)
            try:
                journal.fill(scratch)
            finally:
                scratch._shut()
            os.rename(aside / "hay", place)
        except (lmdb.Error, OSError) as error:
            raise OutOfRoom(f"cannot make a store in {self.directory}: {error}") from error
        finally:
            remove_tree(aside)

    # -- using --------------------------------------------------------------------------------

    def now(self) -> int:
        """The vhost's clock, ns: monotonic, the same in all processes, near the time of day."""
        return self._monotonic_ns() + self.offset

    def write(self) -> WriteTxn:
        """The write transaction, for a ``with`` block: commits at its end, else rolls back.

        Raises ``NestedTransaction`` inside another one of this thread, ``OutOfRoom`` at the end of
        the block when nothing of it could be kept.
        """
        return self._writer

    def read(self) -> ReadTxn:
        """A consistent view of the store, for a ``with`` block."""
        try:
            return self._spare_reads.pop()
        except IndexError:
            return await_reader(self, self._spare_reads) or self.read_long()

    def read_long(self) -> ReadTxn:
        """The same for another thread that takes its time: it leaves the reader at hand to the loops."""
        self._readers.append(reader := ReadTxn(self))
        return reader

    def count_now(self, queue: int) -> int:
        """Ready messages of ``queue``, as last committed."""
        with self.read() as txn:
            return txn.count(queue)[0]

    def set_aside(self, name: str, record: bytes) -> Path:
        """Keep bytes that are no record in a file of their own, for a human; where they are.

        Raises ``OutOfRoom`` when there is no room for it.
        """
        return write_aside(self.directory / "aside", name, record)

    def let_go(self) -> None:
        """After an exception of a signal handler (Ctrl-C): end what this thread has left open.

        Such an exception can fall between a ``with`` block and the first instruction of its
        ``__exit__``, and then nobody ends the transaction, whose lock all processes wait for. Call
        it where an exception leaves the outermost function that uses the store.
        """
        me = threading.get_ident()
        for reader in list(self._readers):
            if reader.active and reader.thread == me:
                reader.abandon()
        if not self._spare_reads and not any(reader.spare and reader.active for reader in self._readers):
            # It fell between ``read()`` and the ``with`` block.
            spare = ReadTxn(self, spare=True)
            self._readers = [reader for reader in self._readers if not reader.spare] + [spare]
            self._spare_reads.append(spare)
        lock = self.lock
        if lock._is_owned():
            try:
                self._writer.abandon()
                self.in_exclusive, self.holds = False, 0
                self.unlock_file = self.drop_file
                self.unlock_file()
            finally:
                while lock._is_owned():
                    lock.release()
        if self.journal is not None:
            self.journal.let_go()

    def reader_check(self) -> int:
        """Free what killed processes were reading; how many there were."""
        with self.exclusive():
            if self._env is None:
                self.reopen()
            return int(self._env.reader_check())

    def admit(self, size: int, more: bool = False) -> None:
        """Is there room for a record of ``size`` bytes to be published? ``more``: another one was let in just now.

        Raises ``OutOfRoom`` when what is left is for those who take messages out. Who only moves them does not ask.
        """
        if not more:
            check_place(self)
        self._budget -= size + room.MESSAGE_COST
        if self._budget < 0 or self.gates.alarm:
            self._budget = room.budget(self, size)

    # -- for the other modules of this package --------------------------------------------------

    @property
    def env(self) -> Any:
        """LMDB's environment. Inside a transaction, or under the file lock after one."""
        return self._env

    @property
    def holds_file(self) -> bool:
        """Whether the thread that owns ``lock`` holds the file lock, too."""
        return self.in_exclusive or self._writer.active

    def exclusive(self) -> Exclusive:
        """Hold the file lock without a transaction, for a ``with`` block (cold paths only)."""
        return Exclusive(self)

    def begin_read(self, reader: ReadTxn) -> Any:
        """An LMDB read transaction; without the spare slot, one is taken under the file lock."""
        begin = self.begin
        if begin is not None and reader.spare:
            try:
                return begin()
            except lmdb.Error as error:
                with self.exclusive():
                    return self.begin_anew(error, write=False)
        reader.wait()
        with self.exclusive():
            reader.go_on()
            begin = self.begin or self.reopen()
            try:
                return begin()
            except lmdb.Error as error:
                return self.begin_anew(error, write=False)

    def end_read(self, reader: ReadTxn) -> None:
        """``reader`` is done."""
        if not reader.spare:
            self._readers.remove(reader)
        elif not self._spare_reads:
            self._spare_reads.append(reader)

    def begin_anew(self, error: lmdb.Error, *, write: bool) -> Any:
        """Beginning failed: mend what can be mended and try once more. Under the file lock."""
        begin = self.begin
        try:
            if begin is None or isinstance(error, lmdb.BadRslotError):
                begin = begin or self.reopen()  # a fork came in between
            elif isinstance(error, lmdb.MapResizedError):
                self._env.set_mapsize(0)
            elif isinstance(error, lmdb.ReadersFullError):
                self._env.reader_check()
            else:
                raise error
            return begin(None, None, write)
        except lmdb.Error as again:
            raise damaged(self.directory, again) from again

    def reopen(self) -> Callable[..., Any]:
        """Open the environment again after a fork; under the file lock."""
        self._open_env()
        own_rows(self._env)
        begin: Callable[..., Any] = self._env.begin
        self.begin = begin
        return begin

    def refuse(self, error: lmdb.Error) -> None:
        """After a rollback: raise what ``error`` means to users of the store, if it means anything."""
        if means_no_room(error, room.free_outside(self)):
            # A killed reader may be what keeps old pages from being used again.
            self._env.reader_check()
            room.run_out(self, patient=self._writer.patient)
            raise OutOfRoom(f"low on memory: no room left in {self.directory} ({error}); {REMEDY}") from error
        if not isinstance(error, lmdb.BadValsizeError):
            raise damaged(self.directory, error) from error

    # -- fork ---------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close the environment, so that parent and child each open their own when they need it.

        LMDB forbids to take an environment across a fork. One inside a transaction of the forking
        thread (a signal handler's), or while another thread does not come to the end of its own,
        leaves the environment open: see ``close_inherited``.
        """
        self.lock.acquire()
        if self._env is None or self.holds_file:
            return
        begin, self.begin = self.begin, None
        deadline = time.monotonic() + FORK_PATIENCE
        while any(reader.active for reader in list(self._readers)):
            if time.monotonic() > deadline:
                self.begin = begin
                return
            time.sleep(0.0002)
        with self.exclusive():
            self._close_env()

    def after_fork_in_child(self) -> None:
        """Nothing of the parent's transactions and locks is ours."""
        self.lock = threading.RLock()
        self.in_exclusive, self.hasty, self.holds, self.unlock_file = False, 0, 0, self.drop_file
        self._renew_transactions()
        env, self._env, self.begin = self._env, None, None
        if env is not None:
            close_inherited(env, self.directory / "hay")
        self.peers.after_fork_in_child()

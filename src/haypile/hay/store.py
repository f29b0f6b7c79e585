"""The store of a vhost: one LMDB environment and the lock, the gate page and the clock around it.

Owns: the vhost's directory, how a store is made, opened, shared in a process, and what a fork does.
Must not know: what rows and records mean.

In the directory: ``lock`` (the file lock), ``hay/`` (LMDB and ``gates``), ``sessions/``.

Why it is done this way (each was measured):

* LMDB's own write lock strands waiters when another waiter is killed, so a ``lockf`` lock is held
  around every write transaction, around opening, and around taking a reader slot. It is opened
  once per process: closing any descriptor of it would drop it.
* A kill while an environment is made leaves it unopenable for ever, so it is made in a temporary
  directory and renamed.
* No ``writemap``: it dies by SIGBUS on a full tmpfs. The map is huge, the real space is what counts.
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
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lmdb

from haypile.hay.errors import HayClosed, OutOfRoom, UnusableDirectory
from haypile.hay.gates import USED_ROW, Gates, slots_used
from haypile.hay.layout import BOOT_ROW, NONCE_ROW, OFFSET_ROW, VERSION_ROW
from haypile.hay.places import check_private, make_private
from haypile.hay.reading import ReadTxn
from haypile.hay.sessions import Peers
from haypile.hay.txn import WriteTxn

LOGGER = logging.getLogger("haypile")

#: Address space for the data, bytes. Only what is used costs anything.
MAP_SIZE = 1 << 38
#: Where the kernel gives less address space (RLIMIT_AS), halve down to this.
MAP_SIZE_LEAST = 1 << 26
#: Processes (and threads reading at the same time) per vhost; 64 bytes each.
MAX_READERS = 1024

#: Bytes left below which a write that was cut short means that there is no room.
LITTLE_ROOM = 1 << 20
#: Seconds a fork waits for other threads' reads to end.
FORK_PATIENCE = 0.5

_registry: dict[tuple[int, int], Hay] = {}
_registry_lock = threading.Lock()


class Hay:
    """A vhost's store, one object per directory and process. ``Hay.open`` it, ``close`` it.

    ``lock``, ``begin``, ``lock_file`` and the other names without an underscore that are not in
    the docs are for the other modules of this package.
    """

    #: LMDB's begin(db, parent, write); None while the environment is closed.
    begin: Callable[..., Any] | None
    nonce: bytes

    def __init__(self, directory: Path, key: tuple[int, int], create: bool) -> None:
        self.directory = directory
        self._key = key
        self._users = 0
        self._env: Any = None
        self.begin = None
        self._depth = 0
        self.db_rows: Any = None
        self.db_log: Any = None
        self.db_body: Any = None
        self.lock: Any = threading.RLock()
        self.gates: Gates
        self._lock_fd = _open_lock(directory / "lock", create)
        self.lock_file: Callable[[], None] = partial(fcntl.lockf, self._lock_fd, fcntl.LOCK_EX)
        self.unlock_file: Callable[[], None] = partial(fcntl.lockf, self._lock_fd, fcntl.LOCK_UN)
        self.peers = Peers(directory / "sessions")
        self._renew_transactions()
        try:
            with self.exclusive():
                self._open_store(create)
        except BaseException:
            self._close_env()
            os.close(self._lock_fd)
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
    def open(cls, directory: Path, *, create: bool = True) -> Hay:
        """The store in ``directory`` (made when missing and ``create``).

        Sharing: a process has one object per directory; each ``open`` needs its ``close``.
        Raises ``UnusableDirectory`` when the directory is not ours alone or holds no store,
        ``OutOfRoom`` when there is no memory or disk space to make one.
        """
        with _registry_lock:
            if create:
                make_private(directory)
            state = check_private(directory)
            key = state.st_dev, state.st_ino
            hay = _registry.get(key)
            if hay is None:
                hay = _registry[key] = cls(directory, key, create)
            hay._users += 1
            return hay

    def close(self) -> None:
        """Undo one ``open``; the last one closes the store."""
        with self.lock, _registry_lock:
            self._users -= 1
            if self._users or _registry.get(self._key) is not self:
                return
            del _registry[self._key]
            self._close_env()
            self.gates.close()
            self.peers.close()
            # Its number may soon be another file's.
            self.lock_file, self.unlock_file = self._refuse_closed, _nothing
            os.close(self._lock_fd)

    def _refuse_closed(self) -> None:
        raise HayClosed(f"the store in {self.directory} was closed")

    def _close_env(self) -> None:
        self.begin = None
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _open_store(self, create: bool) -> None:
        """Under the file lock: open the environment, made if need be, and the gate page."""
        place = self.directory / "hay"
        for stale in self.directory.glob(".hay.*"):
            shutil.rmtree(stale, ignore_errors=True)
        if not place.exists():
            if not create:
                raise UnusableDirectory(f"{self.directory} holds no store; connect once to make it")
            self._build(place)
        self._open_env(place)
        own = self._read_own()
        if own[BOOT_ROW] != _boot_id():
            LOGGER.info("%s is left from before the last boot: starting anew", place)
            self._close_env()
            os.rename(place, self.directory / f".hay.{secrets.token_hex(8)}")
            self._open_store(create)
            return
        make_private(self.directory / "sessions")
        self.nonce = own[NONCE_ROW]
        self._offset = int.from_bytes(own[OFFSET_ROW], "big", signed=True)
        version = int.from_bytes(own[VERSION_ROW] or b"", "big")
        self.gates = Gates(place / "gates", self.nonce, version, slots_used(own[USED_ROW]))

    def _build(self, place: Path) -> None:
        """A new store, made aside and put in place whole."""
        temporary = self.directory / f".hay.{secrets.token_hex(8)}"
        try:
            temporary.mkdir(0o700)
            nonce = b"\0" * 8
            while 0 in nonce:
                nonce = secrets.token_bytes(8)
            offset = time.time_ns() - time.monotonic_ns()
            _reserve(temporary / "lock.mdb")
            env = _lmdb_open(temporary, create=True)
            try:
                for name in (b"rows", b"log", b"body"):
                    env.open_db(name)
                with env.begin(write=True) as txn:
                    txn.put(NONCE_ROW, nonce)
                    txn.put(BOOT_ROW, _boot_id())
                    txn.put(OFFSET_ROW, offset.to_bytes(8, "big", signed=True))
            finally:
                env.close()
            Gates(temporary / "gates", nonce, 0, 0).close()
            os.rename(temporary, place)
        except (lmdb.Error, OSError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OutOfRoom(f"cannot make a store in {self.directory}: {error}") from error

    def _open_env(self, place: Path) -> None:
        """Open the environment and take this process's reader slot; under the file lock."""
        try:
            check_private(place)
            self._env = env = _lmdb_open(place, create=False)
        except lmdb.LockError as error:
            raise UnusableDirectory(
                f"cannot share the store in {place} with a process of the same number in another "
                f"container ({error}); run both with one PID namespace, or give each its own directory"
            ) from error
        except lmdb.Error as error:
            raise UnusableDirectory(
                f"cannot open the store in {place}: {error}; if nothing uses it, remove that directory"
            ) from error
        env.reader_check()
        self.db_rows = env.open_db(b"rows")
        self.db_log = env.open_db(b"log")
        self.db_body = env.open_db(b"body")
        env.begin().abort()
        self.begin = env.begin

    def _read_own(self) -> dict[bytes, bytes]:
        txn = self._env.begin()
        try:
            return {key: txn.get(key) for key in (NONCE_ROW, BOOT_ROW, OFFSET_ROW, VERSION_ROW, USED_ROW)}
        finally:
            txn.abort()

    # -- using --------------------------------------------------------------------------------

    def now(self) -> int:
        """The vhost's clock, ns: monotonic, the same in all processes, near the time of day."""
        return time.monotonic_ns() + self._offset

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
            reader = ReadTxn(self)
            self._readers.append(reader)
            return reader

    def count_now(self, queue: int) -> int:
        """Ready messages of ``queue``, as last committed."""
        with self.read() as txn:
            return txn.count(queue)[0]

    def set_aside(self, name: str, record: bytes) -> Path:
        """Keep bytes that are no record in a file of their own, for a human; where they are."""
        place = self.directory / "aside"
        make_private(place)
        path = place / f"{quote(name, safe='')[:100]}-{secrets.token_hex(8)}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, record)
        finally:
            os.close(fd)
        return path

    def reader_check(self) -> int:
        """Free what killed processes were reading; how many there were."""
        with self.exclusive():
            if self._env is None:
                self.reopen()
            return int(self._env.reader_check())

    def free_bytes(self) -> int:
        """Room left where the store lies, bytes."""
        state = os.statvfs(self.directory)
        return state.f_bavail * state.f_frsize

    def used_bytes(self) -> int:
        """What the store's data takes, bytes (it does not shrink)."""
        return os.stat(self.directory / "hay" / "data.mdb").st_blocks * 512

    # -- for the other modules of this package --------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the file lock without a transaction (cold paths only)."""
        with self.lock:
            held = self._depth > 0 or self._writer.active
            if not held:
                self.lock_file()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not held:
                    self.unlock_file()

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
        if reader.spare:
            self._spare_reads.append(reader)
        else:
            self._readers.remove(reader)

    def begin_anew(self, error: lmdb.Error, *, write: bool) -> Any:
        """Beginning failed: mend what can be mended and try once more. Under the file lock."""
        begin = self.begin
        if begin is None or isinstance(error, lmdb.BadRslotError):
            # A fork came in between.
            begin = begin or self.reopen()
        elif isinstance(error, lmdb.MapResizedError):
            self._env.set_mapsize(0)
        elif isinstance(error, lmdb.ReadersFullError):
            self._env.reader_check()
        else:
            raise error
        return begin(None, None, write)

    def reopen(self) -> Callable[..., Any]:
        """Open the environment again after a fork; under the file lock."""
        self._open_env(self.directory / "hay")
        assert self.begin is not None
        return self.begin

    def refuse(self, error: lmdb.Error) -> None:
        """After a rollback: raise what ``error`` means to users of the store, if it means anything."""
        text = str(error)
        if (
            isinstance(error, (lmdb.MapFullError, lmdb.DiskError))
            or "No space left" in text
            or "quota" in text
            # LMDB's word for a write that was cut short.
            or ("Input/output error" in text and self.free_bytes() < LITTLE_ROOM)
        ):
            # A killed reader may be what keeps old pages from being used again.
            self._env.reader_check()
            raise OutOfRoom(f"no room left in {self.directory}: {error}") from error

    # -- fork ---------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close the environment, so that parent and child each open their own when they need it.

        LMDB forbids to take an environment across a fork: a child that closes the inherited one
        frees its parent's reader slots. A fork inside a transaction of the forking thread (a
        signal handler's) leaves the environment open; the child then closes its copy, which
        leaves the parent's transaction alone.
        """
        self.lock.acquire()
        if self._env is None or self._depth or self._writer.active:
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
        self._depth = 0
        self._renew_transactions()
        self._close_env()
        self.peers.after_fork_in_child()


def _open_lock(path: Path, create: bool) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_CREAT if create else flags, 0o600)
    except FileNotFoundError:
        raise UnusableDirectory(f"{path.parent} holds no store; connect once to make it") from None
    except OSError as error:
        raise UnusableDirectory(
            f"cannot open {path}: {error.strerror}; remove it, or its directory"
        ) from error


def _lmdb_open(place: Path, *, create: bool) -> Any:
    size = MAP_SIZE
    while True:
        try:
            return lmdb.open(
                os.fspath(place),
                map_size=size,
                create=create,
                mode=0o600,
                sync=False,
                metasync=False,
                writemap=False,
                max_dbs=4,
                max_readers=MAX_READERS,
                max_spare_txns=1,
            )
        except (lmdb.MemoryError, MemoryError):
            if size <= MAP_SIZE_LEAST:
                raise
            size //= 2


def _reserve(path: Path) -> None:
    """Real blocks for LMDB's lock file, which it maps: else a full tmpfs is SIGBUS.

    Only before anybody has the environment open: closing this file drops the locks of its owner.
    LMDB takes the number of readers from the size it finds.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, 64 * MAX_READERS)
    finally:
        os.close(fd)


def _nothing() -> None:
    pass


def _boot_id() -> bytes:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


# -- fork -------------------------------------------------------------------------------------

_held_for_fork: list[Hay] = []


def _before_fork() -> None:
    """Hold every write lock, then the registry: in that order, as ``Hay.close`` does."""
    while True:
        hays = list(_registry.values())
        for hay in hays:
            hay.before_fork()
        _registry_lock.acquire()
        if hays == list(_registry.values()):
            _held_for_fork[:] = hays
            return
        _registry_lock.release()
        for hay in hays:
            hay.lock.release()


def _after_fork_in_parent() -> None:
    _registry_lock.release()
    for hay in _held_for_fork:
        hay.lock.release()
    _held_for_fork.clear()


def _after_fork_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    for hay in _held_for_fork:
        hay.after_fork_in_child()
    _held_for_fork.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)

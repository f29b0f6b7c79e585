"""Who is connected, who died, and how to call them.

Owns: the files of a session (``sessions/ID.lock``, ``.bell``, ``.landing``, ``.counts``, ``.swath``, ``.bodies.SIZE``)
and the locks on them.
Must not know: what a session holds and how it is given back (the broker).

A living session holds a ``lockf`` lock on its own file, which its process opens once; who finds a
row in the store whose file is unlocked or missing has found a dead one. The kernel drops the lock
at the process's end, a forked child does not inherit it, and it tells the truth across PID
namespaces. Closing any other descriptor of that file would drop it, so a process never opens the
lock file of a session of its own (``Peers.own``) or of one that it is recovering (``Peers.graves``).

Invariants: a row exists only while its lock file does, or its owner is dead: a session makes its
files under the write lock before its row is committed, and deletes its row before its files.
A session file without a row is litter; the next session to come sweeps it. But bodies outlive their session while
somebody may need them, and that is as long as there is any session.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from haypile.hay.bell import Bell, open_to_ring
from haypile.hay.errors import OutOfRoom, explain
from haypile.hay.places import share

if TYPE_CHECKING:
    from haypile.hay.store import Hay
    from haypile.hay.txn import WriteTxn

#: Descriptors of other sessions' bells kept open, at most.
BELLS = 64

_FLOCK = struct.Struct("@hhqqi")
_ASK = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_UNLOCKED = struct.pack("@h", fcntl.F_UNLCK)

#: In the names of files with bodies.
BODIES = ".bodies."
#: The last is a landing whose maker was killed.
_SUFFIXES = (".lock", ".bell", ".landing", ".landing.new", ".counts", ".swath")


class Peers:
    """What this process knows of the sessions of one vhost. ``hay.peers``; threads share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: As text: paths are put together for every connection that opens.
        self._stem = f"{directory}/"
        self.mutex = threading.Lock()
        #: Sessions of this process, and what they settled (``SessionFile.settle``).
        self.own: set[int] = set()
        self.settled: dict[int, int] = {}
        #: Dead sessions that this process is recovering.
        self.graves: set[int] = set()
        self.locks: dict[int, int] = {}
        self.bells: dict[int, int] = {}

    def path(self, session: int, suffix: str) -> Path:
        """A file of ``session``."""
        return self.directory / f"{session}{suffix}"

    def name(self, session: int, suffix: str) -> str:
        """The same as text."""
        return f"{self._stem}{session}{suffix}"

    def bodies(self, session: int, size: int) -> Path:
        """Where ``session`` puts bodies of up to ``size`` bytes."""
        return self.directory / f"{session}{BODIES}{size}"

    def close(self) -> None:
        """Give all descriptors back."""
        for fd in (*self.locks.values(), *self.bells.values()):
            os.close(fd)
        self.locks.clear()
        self.bells.clear()

    def after_fork_in_child(self) -> None:
        """The parent's sessions are not ours."""
        self.mutex = threading.Lock()
        self.own.clear()
        self.settled.clear()
        self.graves.clear()

    def dead(self, sessions: list[int]) -> list[int]:
        """Those of ``sessions`` whose process is gone."""
        found = []
        locks = self.locks
        with self.mutex:
            for session in sessions:
                if session in self.own or session in self.graves:
                    continue
                fd = locks.get(session)
                if fd is None:
                    try:
                        fd = os.open(self.name(session, ".lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                    except OSError:
                        found.append(session)
                        continue
                    locks[session] = fd
                if fcntl.fcntl(fd, fcntl.F_GETLK, _ASK)[:2] == _UNLOCKED:
                    found.append(session)
            if len(locks) > len(sessions):
                for gone in locks.keys() - set(sessions) - self.graves:
                    os.close(locks.pop(gone))
        return found

    def unlink(self, session: int) -> None:
        """Remove the files of ``session``."""
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.unlink(self.name(session, suffix))

    def sweep(self, txn: WriteTxn) -> None:
        """Remove files whose session has no row. Under the write lock: none is being made."""
        try:
            names = os.listdir(self.directory)
        except OSError as error:
            raise OutOfRoom(f"cannot read {self.directory}: {explain(error, self.directory)}") from error
        for session in {int(stem) for stem, _, _ in (name.partition(".") for name in names) if stem.isdigit()}:
            if session not in self.own and txn.session(session) is None:
                self.unlink(session)
        if not txn.session_ids():
            self.sweep_bodies()

    def all_bodies(self) -> list[Path]:
        """All that there are, of sessions dead and alive. Raises ``OSError``."""
        return [self.directory / name for name in os.listdir(self.directory) if BODIES in name]

    def sweep_bodies(self) -> None:
        """There are no sessions: nobody needs what is left of bodies. Under the write lock."""
        with suppress(OSError):  # no descriptor left, say: the next one to come does it
            for path in self.all_bodies():
                path.unlink(missing_ok=True)


class SessionFile:
    """The identity of one connection of this process."""

    def __init__(self, hay: Hay, session: int) -> None:
        """For ``create`` alone: under the write lock."""
        self.id = session
        self._hay = hay
        self._peers = hay.peers
        self._pid = os.getpid()
        self._closed = False
        path = hay.peers.name(session, ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error
        try:
            share(self._fd, hay.peers.directory)
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.bell = Bell(hay.peers.name(session, ".bell"), hay.peers.directory)
            #: Kept for the moment in which the landing is made: the process may have no descriptor left then.
            #: One is for the file, one is what ``mmap`` keeps of it.
            self._spare = [os.dup(self.bell.fd), os.dup(self.bell.fd)]
        except OSError as error:
            os.close(self._fd)
            hay.peers.unlink(session)
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error
        except BaseException:
            os.close(self._fd)
            hay.peers.unlink(session)
            raise

    @classmethod
    def create(cls, hay: Hay, info: bytes) -> SessionFile:
        """A new session with row ``info``.

        Raises ``OutOfRoom`` when there is no room for its row or its files.
        """
        peers = hay.peers
        session = None
        try:
            with hay.write() as txn:
                number = txn.next_id("session")
                peers.sweep(txn)
                peers.own.add(number)
                try:
                    session = cls(hay, number)
                except BaseException:
                    peers.own.discard(number)
                    raise
                txn.put_session(number, info)
        except BaseException:
            if session is not None:
                session.close()
            raise
        return session

    def settle(self, number: int) -> None:
        """What this session took up to ``number`` is settled, before it is written into the store.

        The number stands in the lock file: it outlives the process.
        """
        self._peers.settled[self.id] = number
        os.pwrite(self._fd, number.to_bytes(8, "little"), 0)

    def landing_path(self) -> Path:
        """Where this session's landing belongs. It is about to be made: there are descriptors for it."""
        self._drop_spare()
        return self._peers.path(self.id, ".landing")

    def counts_path(self) -> Path:
        """Where this session counts."""
        return self._peers.path(self.id, ".counts")

    def _drop_spare(self) -> None:
        spare, self._spare = self._spare, []
        for fd in spare:
            os.close(fd)

    def close(self, *, gone: bool = True) -> None:
        """Goodbye. Idempotent.

        ``gone``: so is the session's row. Else the files stay for whoever recovers the session, as after a crash.

        In a forked child it only lets go of descriptors: the session is the parent's.
        """
        if self._closed:
            return
        self._closed = True
        self._drop_spare()
        self.bell.close()
        if self._pid == os.getpid():
            if gone:
                self._peers.unlink(self.id)
            with self._peers.mutex:
                os.close(self._fd)
                self._peers.own.discard(self.id)
                self._peers.settled.pop(self.id, None)
            self._hay.gates.epoch += 1
        else:
            os.close(self._fd)


class Grave:
    """A dead session's files, while one process recovers it."""

    def __init__(self, hay: Hay, session: int) -> None:
        self.id = session
        self._hay = hay
        self._fd = -1

    def __enter__(self) -> Grave | None:
        peers = self._hay.peers
        with peers.mutex:
            if self.id in peers.own or self.id in peers.graves:
                return None
            fd = peers.locks.pop(self.id, -1)
            try:
                if fd < 0:
                    # Missing: its owner died between deleting its row and here, or was tampered with.
                    fd = os.open(
                        peers.path(self.id, ".lock"),
                        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                        0o600,
                    )
                    share(fd, peers.directory)
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if fd >= 0:
                    os.close(fd)
                return None
            self._fd = fd
            peers.graves.add(self.id)
        self._hay.reader_check()
        return self

    def settled(self) -> int:
        """Up to which number the dead session had settled what it took."""
        return int.from_bytes(os.pread(self._fd, 8, 0), "little")

    def counts_path(self) -> Path:
        """Where the dead session counted, if it did."""
        return self._hay.peers.path(self.id, ".counts")

    def landing_path(self) -> Path:
        """Where the dead session's landing is, if it had one."""
        return self._hay.peers.path(self.id, ".landing")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd < 0:
            return
        peers = self._hay.peers
        try:
            with self._hay.read() as txn:
                recovered = txn.session(self.id) is None
            if recovered:
                peers.unlink(self.id)
                self._hay.gates.epoch += 1
        finally:
            with peers.mutex:
                os.close(self._fd)
                self._fd = -1
                peers.graves.discard(self.id)


def dead_sessions(hay: Hay) -> list[int]:
    """Sessions whose process is gone without having said goodbye. Cheap: 0.2 us each."""
    with hay.read() as txn:
        sessions = txn.session_ids()
    return hay.peers.dead(sessions)


def settled(hay: Hay, session: int) -> int:
    """Up to which number ``session`` has settled what it took (``SessionFile.settle``)."""
    peers = hay.peers
    with peers.mutex:
        if session in peers.own:
            return peers.settled.get(session, 0)
        fd = peers.locks.get(session)
        if fd is None:
            try:
                fd = os.open(peers.name(session, ".lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                return 0
            peers.locks[session] = fd
        return int.from_bytes(os.pread(fd, 8, 0), "little")


def seize(hay: Hay, session: int) -> Grave:
    """Claim a dead session, for a ``with`` block: one claimant at a time gets its ``Grave``.

    The others get None. At the end of the block the files go if the session's row is gone by then.
    Look for the row within the block: another one may have recovered the session just before.
    """
    return Grave(hay, session)


def ring(hay: Hay, session: int) -> None:
    """Ring the bell of ``session``, if it still listens."""
    peers = hay.peers
    with peers.mutex:
        fd = peers.bells.get(session)
        if fd is None:
            fd = open_to_ring(peers.name(session, ".bell"))
            if fd is None:
                return
            if len(peers.bells) >= BELLS:
                os.close(peers.bells.pop(next(iter(peers.bells))))
            peers.bells[session] = fd
        try:
            os.write(fd, b"!")
        except BlockingIOError:
            pass
        except BrokenPipeError:
            del peers.bells[session]
            os.close(fd)

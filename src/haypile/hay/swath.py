"""A swath: the youngest messages of queues that nobody consumes, in memory that outlives who published them.

Owns: a session's file of entries that are not in the store yet, its mapping, and up to where they are in the store.
Must not know: what a record is, and which queues may be in a swath.

A transaction for each message of a backlog is most of what such a message costs. So its publisher lays it here, and
many are gathered into the store at once: by the publisher when the file is full, by whoever looks at the queue before
that. Only the maker writes to the file; others read it, under the write lock.

Layout, u64 words: magic, where the first byte of the entries stands in the order of all that were ever laid
(``START``), the same for the first byte behind the last entry (``LAID``); then the entries: length and queue (u32
each), the record.

Invariants:

* An entry is whole before ``LAID`` says that it is there; who is killed in between has not published it.
* A row of the store says up to where the entries are in the store. It is committed with them, so each is gathered
  once. ``START`` moves only under the write lock, when all that was laid has been gathered.
* The file's blocks exist before it is mapped (a full file system is a signal else).
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from haypile.hay.errors import OutOfRoom, explain

if TYPE_CHECKING:
    from haypile.hay.reading import ReadTxn
    from haypile.hay.txn import WriteTxn

#: Bytes of entries: some hundreds of small ones. The write lock is held as long as it takes to gather them.
ROOM = 65_536 - 64
#: A longer record is no cheaper here.
LONGEST = 8192

_MAGIC = int.from_bytes(b"hayswath", "little")
_START, _LAID = 1, 2
_HEAD = 64
_HEAD_WORDS = struct.Struct("=3Q")
_ENTRY = struct.Struct("=II")
_ROW = b"\x00w"
_LIMITS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG, errno.EMFILE, errno.ENFILE)

#: Queue and record.
Laid = tuple[int, bytes]


class Swath:
    """One session's, as its maker has it. One thread at a time."""

    def __init__(self, path: Path, mode: int) -> None:
        """A new file at ``path``. Raises ``OutOfRoom`` when there is no memory or descriptor for it."""
        size = _HEAD + ROOM
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error
        try:
            os.fchmod(fd, mode)
            os.posix_fallocate(fd, 0, size)
            self._map = mmap.mmap(fd, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno in _LIMITS:
                raise OutOfRoom(f"no room for {size} bytes in {path.parent}: {error.strerror}") from error
            raise
        finally:
            os.close(fd)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[: _HEAD_WORDS.size].cast("Q")
        #: All before this is in the store.
        self.gathered = 0
        self._fence = threading.Lock()
        self._words[0] = _MAGIC

    @property
    def holds(self) -> bool:
        """Whether something is laid that is not known to be in the store."""
        return self._words[_LAID] != self.gathered

    def lay(self, queue: int, record: bytes) -> bool:
        """Keep ``record``; False when there is no room for it.

        Whoever says that nothing is to be laid any more, and looks here after that, has it; else what it said is seen
        by who asks after this.
        """
        words, length = self._words, len(record)
        laid = words[_LAID]
        # Of words alone: a signal handler may raise between any two lines, here and in ``start_anew``.
        at = laid - words[_START] + _HEAD
        body = at + 8
        end = body + length
        if end > _HEAD + ROOM:
            return False
        entry = self._bytes
        entry[at:body] = _ENTRY.pack(length, queue)
        entry[body:end] = record
        # Taking a lock and giving it back: stores are seen by other processors before what follows is loaded.
        with self._fence:
            words[_LAID] = laid + 8 + length
        return True

    def read(self, size: int, at: int) -> bytes:
        """As a file is read."""
        return bytes(self._bytes[at : at + size])

    def start_anew(self, upto: int) -> None:
        """All up to ``upto`` is in the store. Under the write lock, after the commit."""
        self.gathered = upto
        if upto == self._words[_LAID]:
            self._words[_START] = upto

    def close(self) -> None:
        """Let go of the memory; the file stays."""
        self._words.release()
        self._bytes.release()
        self._map.close()


def lying(path: Path, reading: ReadTxn, session: int) -> tuple[int, list[Laid]]:
    """What ``session`` has laid in its file at ``path`` and is not in the store yet; and up to where that is.

    Under the write lock; without it a part may be there twice or not at all. Raises ``OutOfRoom`` when no descriptor
    is left to look at it.
    """
    gathered = _gathered(reading, session)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return gathered, []
    except OSError as error:
        raise OutOfRoom(f"cannot read {path}: {explain(error, path)}") from error
    try:
        return _found(functools.partial(os.pread, fd), gathered)
    finally:
        os.close(fd)


def own_lying(own: Swath, reading: ReadTxn, session: int) -> tuple[int, list[Laid]]:
    """The same of our own, without its file: somebody may have removed that."""
    return _found(own.read, _gathered(reading, session))


def _gathered(reading: ReadTxn, session: int) -> int:
    return int.from_bytes(reading.get_internal(_key(session)) or b"", "little")


def _found(read: Callable[[int, int], bytes], gathered: int) -> tuple[int, list[Laid]]:
    head = read(_HEAD_WORDS.size, 0)
    if len(head) < _HEAD_WORDS.size:
        return gathered, []
    magic, start, laid = _HEAD_WORDS.unpack(head)
    if magic != _MAGIC or not start <= gathered < laid <= start + ROOM:
        return gathered, []
    return laid, _apart(read(laid - gathered, _HEAD + gathered - start))


def _apart(entries: bytes) -> list[Laid]:
    found, at = [], 0
    while at + 8 <= len(entries):
        length, queue = _ENTRY.unpack_from(entries, at)
        at += 8 + length
        if at <= len(entries):
            found.append((queue, entries[at - length : at]))
    return found


def note_gathered(txn: WriteTxn, session: int, upto: int) -> None:
    """All that ``session`` laid up to ``upto`` is in the store with this transaction."""
    txn.put_internal(_key(session), upto.to_bytes(8, "little"))


def forget(txn: WriteTxn, session: int) -> None:
    """``session`` lays nothing any more, and all that it laid is in the store."""
    txn.delete_internal(_key(session))


def _key(session: int) -> bytes:
    return _ROW + session.to_bytes(4, "big")

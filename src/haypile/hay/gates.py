"""The gate page: a few words of shared memory that every process of a vhost looks at.

Owns: the file ``gates``, its layout, its growth, its repair, and which slots are in use.
Must not know: what a queue is; it keeps words for numbered slots.

Layout: 64 header words, then 8 words for each slot, all u64 in native byte order. An aligned
word is stored and loaded whole, so no lock is needed to look; words change under the write lock.

Invariants:

* No process gets SIGBUS: blocks are allocated (``posix_fallocate``) before they are mapped.
* A gate is never wrongly open. A page that had to be made anew (lost, cut short, or of another
  store) starts with every gate closed; the next consumer to look opens it when that is right.
* Old maps stay valid after growth, so a ``words`` view may be kept for as long as its slots are
  covered: it shows the same memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from haypile.hay.errors import OutOfRoom, UnusableDirectory
from haypile.hay.places import random_name, share

if TYPE_CHECKING:
    from haypile.hay.txn import WriteTxn

#: Words before the first slot, and words of a slot.
HEADER_WORDS = 64
SLOT_WORDS = 8

#: Header words.
VERSION, DUE, EPOCH, ALARM, UNSETTLED, NONCE = 0, 1, 2, 3, 4, 5
#: LMDB's numbers of transactions: the last that left something for the journal; the one whose view was
#: read by the last flush, or the one under way; the one up to which all is on disk (``pending``).
PENDING, FLUSHING, FLUSHED = 6, 7, 8
#: Where the journal's log goes on (``journal``); epoch 0: look for it.
LOG_EPOCH, LOG_AT, LOG_COUNT = 9, 10, 11

#: Not 0 while the journal finds no room on its disk.
DISK_ALARM = 12
#: A checksum of where the log goes on: to write elsewhere would destroy what was confirmed.
LOG_CHECK = 13

#: Largest word; FLUSHING of a page that does not know: whatever is pending may have been read by a flush.
UNKNOWN = (1 << 64) - 1

#: Words of a slot, counted from its base.
CLOSED, CONSUMERS, GENERATION, QUEUE = 0, 1, 2, 3

#: How often a process that waits lets others run before it sleeps, and how long it sleeps then, seconds.
YIELDS, NAP = 16, 0.0001

#: The file grows by this many bytes: 1024 slots, a multiple of the page size.
CHUNK = 65536

#: Rows of free slots, and the row that counts the slots ever used.
_FREE = b"\x00g"
_USED = b"\x00u"


class Gates:
    """The mapped gate page of one store. Made by ``Hay``; use ``hay.gates``."""

    words: memoryview

    def __init__(self, path: Path, nonce: bytes, version: int, used: int) -> None:
        """Map the page at ``path``; call it under the write lock.

        ``nonce`` and ``version`` are the store's, ``used`` the number of slots it ever gave out.
        Raises ``OutOfRoom`` when there is no memory for it, ``UnusableDirectory`` when the file
        cannot be opened.
        """
        self._path = path
        self._nonce = int.from_bytes(nonce, "little")
        self._map: mmap.mmap | None = None
        needed = _bytes_for(used)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            fd = self._make(needed, version)
        except OSError as error:
            raise UnusableDirectory(f"cannot open {path}: {error.strerror}; remove it and connect again") from error
        self._fd = fd
        if os.fstat(fd).st_size < needed or not self._ours():
            os.close(fd)
            self._fd = self._make(needed, version)
        self._remap()
        if self.words[VERSION] != version:
            # Its last writer died between commit and store. Under the write lock: settled.
            self.words[VERSION] = version
        self.words[UNSETTLED] = 0

    def _ours(self) -> bool:
        head = os.pread(self._fd, 8 * HEADER_WORDS, 0)
        return memoryview(head).cast("Q")[NONCE] == self._nonce

    def _make(self, size: int, version: int) -> int:
        """A new page of ``size`` bytes, all gates closed, put in place whole."""
        temporary = self._path.with_name(f".gates.{random_name()}")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            share(fd, temporary.parent)
            _allocate(fd, size)
            with mmap.mmap(fd, size) as page, memoryview(page) as view, view.cast("Q") as words:
                words[VERSION] = version
                words[NONCE] = self._nonce
                words[FLUSHING] = UNKNOWN
                words[PENDING] = 1
                for base in range(HEADER_WORDS, len(words), SLOT_WORDS):
                    words[base + CLOSED] = 1
            os.rename(temporary, self._path)
        except BaseException:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            raise
        return fd

    def _remap(self) -> None:
        self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size // CHUNK * CHUNK)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        """Let go of the page. Views already handed out go on; later words are written to nowhere."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._map = None
            self.words = memoryview(bytearray(8 * HEADER_WORDS)).cast("Q")

    # -- header words -------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the topology rows, as of the last commit."""
        return int(self.words[VERSION])

    @version.setter
    def version(self, value: int) -> None:
        self.words[VERSION] = value

    @property
    def due(self) -> int:
        """When the next thing is due in this vhost, in ns of ``Hay.now()``; 0: nothing."""
        return int(self.words[DUE])

    @due.setter
    def due(self, value: int) -> None:
        self.words[DUE] = value

    @property
    def epoch(self) -> int:
        """Changes whenever a session died or said goodbye."""
        return int(self.words[EPOCH])

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.words[EPOCH] = value & UNKNOWN

    @property
    def alarm(self) -> int:
        """Not 0 while the store is nearly full."""
        return int(self.words[ALARM])

    @alarm.setter
    def alarm(self, value: int) -> None:
        self.words[ALARM] = value

    def wait(self, word: int, seconds: float) -> bool:
        """Wait up to ``seconds`` until ``word`` is 0; whether it is."""
        words = self.words
        for _ in range(YIELDS):
            if not words[word]:
                return True
            os.sched_yield()
        deadline = time.monotonic() + seconds
        while words[word]:
            if time.monotonic() > deadline:
                return False
            time.sleep(NAP)
        return True

    # -- slots --------------------------------------------------------------------------------

    def ensure(self, slot: int) -> None:
        """Make ``words`` cover ``slot``, which some process has allocated before."""
        if HEADER_WORDS + SLOT_WORDS * (slot + 1) > len(self.words):
            self._remap()
            if HEADER_WORDS + SLOT_WORDS * (slot + 1) > len(self.words):
                raise IndexError(f"gate slot {slot} was never allocated")

    def allocate(self, txn: WriteTxn) -> int:
        """A free slot, its gate closed, no consumers, its lane generation moved on.

        Raises ``OutOfRoom`` when the page cannot grow.
        """
        row = txn.first_internal(_FREE)
        if row is not None:
            slot = int.from_bytes(row[len(_FREE) :], "big")
            txn.delete_internal(row)
        else:
            slot = int.from_bytes(txn.get_internal(_USED) or b"", "big")
            txn.put_internal(_USED, (slot + 1).to_bytes(4, "big"))
        size = _bytes_for(slot + 1)
        if os.fstat(self._fd).st_size < size:
            _allocate(self._fd, size)
        self.ensure(slot)
        words = self.words
        base = HEADER_WORDS + SLOT_WORDS * slot
        words[base + CLOSED] = 1
        words[base + CONSUMERS] = 0
        words[base + GENERATION] = words[base + GENERATION] + 1 & UNKNOWN
        for word in range(base + QUEUE, base + SLOT_WORDS):
            words[word] = 0
        return slot

    def free(self, txn: WriteTxn, slot: int) -> None:
        """Give ``slot`` back; its gate closes at once, the rest is cleared after the commit."""
        self.ensure(slot)
        words = self.words
        base = HEADER_WORDS + SLOT_WORDS * slot
        txn.put_internal(_FREE + slot.to_bytes(4, "big"), b"\x00")
        words[base + CLOSED] = 1
        words[base + GENERATION] = words[base + GENERATION] + 1 & UNKNOWN

        def clear() -> None:
            words[base + CONSUMERS] = 0
            words[base + QUEUE] = 0

        txn.on_commit.append(clear)


def slots_used(value: bytes | None) -> int:
    """Slots ever given out, from the row ``USED_ROW`` of the store."""
    return int.from_bytes(value or b"", "big")


#: Where the store keeps the number of slots ever given out.
USED_ROW = _USED


def _bytes_for(slots: int) -> int:
    size = 8 * (HEADER_WORDS + SLOT_WORDS * slots)
    return (size + CHUNK - 1) // CHUNK * CHUNK


def _allocate(fd: int, size: int) -> None:
    """Blocks for ``size`` bytes of ``fd``, else ``OutOfRoom``."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM):
            raise OutOfRoom(f"no room for the gate page ({size} bytes): {error.strerror}") from error
        raise

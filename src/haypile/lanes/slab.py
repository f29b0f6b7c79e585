"""A slab: bodies that no kernel queue takes, in memory that outlives who published them.

Owns: a file of slots of one size, its mapping, and the words that say which slots are in use.
Must not know: what a body belongs to, and when nobody needs it any more.

One session, the maker, puts bodies into slots. Whoever is handed a slot and its number reads it, and gives it back by
clearing the slot's word; nobody else has been handed that slot, so each word has one writer at a time. Numbers never
come back, so that a slot which was given back, and perhaps is in use again, is told from the one that was meant.

The first page holds words (u64): magic, slots, bytes of a slot, whether the maker is gone, then one for each slot: 0,
or the number under which it is in use; and in its second half who has claimed the slot, to be told from others after
a crash. Once the maker is gone, whoever gives back the last slot removes the file.

Invariant: the file's blocks exist before anything is written to the mapping (a full file system is a signal else).
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from haypile.lanes.errors import NoRoom

_MAGIC = int.from_bytes(b"haybody1", "little")
_HEADER = 4096
_SLOTS, _SIZE, _ORPHAN, _FIRST, _CLAIMS = 1, 2, 3, 8, 256
#: Slots that the first page has words for.
SLOTS_MOST = _CLAIMS - _FIRST
#: Turns given to others before a wait for a slot becomes naps, of so many seconds.
_YIELDS, _NAP = 8, 0.0002
_LIMITS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG, errno.EMFILE, errno.ENFILE)


class Slab:
    """One file, mapped. One thread at a time."""

    def __init__(self, path: Path, fd: int, slots: int, slot_bytes: int) -> None:
        """For ``create`` and ``open`` alone."""
        self.path = path
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._map = mmap.mmap(fd, _HEADER + slots * slot_bytes)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[:_HEADER].cast("Q")
        #: Of the maker: slots known to be free, and the last number used.
        self._free: list[int] = []
        self._number = 0

    @classmethod
    def create(cls, path: Path, slots: int, slot_bytes: int, mode: int = 0o600) -> Slab:
        """A new slab in a file at ``path``; ``slot_bytes``: whole pages. ``mode``: of the file, whatever the umask.

        Raises ``NoRoom`` when there is no memory, disk space or descriptor for it.
        """
        size, fd = _HEADER + slots * slot_bytes, -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(fd, mode)
            os.posix_fallocate(fd, 0, size)
            slab = cls(path, fd, slots, slot_bytes)
        except OSError as error:
            if fd >= 0:
                path.unlink(missing_ok=True)
            if error.errno in _LIMITS:
                raise NoRoom(f"no room for {size} bytes in {path.parent}: {error.strerror}") from error
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        words = slab._words
        words[_SLOTS], words[_SIZE] = slots, slot_bytes
        words[0] = _MAGIC
        return slab

    @classmethod
    def open(cls, path: Path) -> Slab | None:
        """The slab at ``path``; None when there is none. Raises ``NoRoom`` when it cannot be mapped just now."""
        fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            state = os.fstat(fd)
            head = os.pread(fd, 24, 0)
            magic, slots, slot_bytes = (int.from_bytes(head[at : at + 8], "little") for at in (0, 8, 16))
            size = _HEADER + slots * slot_bytes
            if not stat.S_ISREG(state.st_mode) or magic != _MAGIC or slots > SLOTS_MOST or state.st_size < size:
                return None
            return cls(path, fd, slots, slot_bytes)
        except OSError as error:
            if error.errno in _LIMITS:
                raise NoRoom(f"cannot open {path}: {error.strerror}") from error
            return None
        finally:
            if fd >= 0:
                os.close(fd)

    # -- the maker ----------------------------------------------------------------------------

    def put(self, body: bytes | memoryview) -> tuple[int, int] | None:
        """Keep ``body``; its slot and number, None when no slot is free."""
        free = self._free
        if not free:
            words = self._words[_FIRST : _FIRST + self.slots].tolist()
            # The lowest first: those were in use most lately, and the processor has them at hand.
            free.extend(slot for slot in range(self.slots - 1, -1, -1) if not words[slot])
            if not free:
                return None
        slot = free.pop()
        start = _HEADER + slot * self.slot_bytes
        self._bytes[start : start + len(body)] = body
        self._number = number = self._number + 1
        self._words[_CLAIMS + slot] = 0
        self._words[_FIRST + slot] = number
        return slot, number

    def wait(self, seconds: float) -> bool:
        """Wait for a free slot, ``seconds`` at most; whether there is one."""
        words = self._words[_FIRST : _FIRST + self.slots]
        for _ in range(_YIELDS):
            if 0 in words:
                return True
            os.sched_yield()
        deadline = time.monotonic() + seconds
        while 0 not in words:
            if time.monotonic() > deadline:
                return False
            time.sleep(_NAP)
        return True

    def taken(self) -> list[int]:
        """The slots in use."""
        words = self._words[_FIRST : _FIRST + self.slots].tolist()
        return [slot for slot in range(self.slots) if words[slot]]

    def reclaim(self, slot: int) -> None:
        """Nobody will ask for the body in ``slot``."""
        self._words[_FIRST + slot] = 0

    def leave(self) -> None:
        """The maker is gone: memory goes with each body, the file with the last one."""
        self._words[_ORPHAN] = 1
        if not self._go():
            used = self.taken()
            for slot in range(self.slots):
                if slot not in used:
                    self._clear_out(slot)

    # -- whoever was handed a slot ------------------------------------------------------------

    def has(self, slot: int, number: int, length: int) -> bool:
        """Whether a body of ``length`` bytes is in ``slot`` under ``number``."""
        return slot < self.slots and length <= self.slot_bytes and self._words[_FIRST + slot] == number != 0

    def body(self, slot: int, length: int) -> bytes:
        """The body in ``slot``."""
        start = _HEADER + slot * self.slot_bytes
        return self._map[start : start + length]

    def claim(self, slot: int, who: int) -> None:
        """The body in ``slot`` is in the hands of ``who``, and nowhere else."""
        self._words[_CLAIMS + slot] = who

    def release(self, who: int) -> None:
        """Give back what ``who`` had claimed: its hands are empty, or it is dead."""
        for slot in self.taken():
            if self._words[_CLAIMS + slot] == who:
                self.give_back(slot)

    def give_back(self, slot: int) -> None:
        """The body in ``slot`` is not needed any more."""
        words = self._words
        words[_FIRST + slot] = 0
        if words[_ORPHAN] and not self._go():
            self._clear_out(slot)

    def _go(self) -> bool:
        """Remove the file if no slot is in use; whether that was so."""
        if any(self._words[_FIRST : _FIRST + self.slots]):
            return False
        with suppress(OSError):
            os.unlink(self.path)
        return True

    def _clear_out(self, slot: int) -> None:
        """Nothing will be written to ``slot`` any more."""
        with suppress(OSError):  # not every file system gives memory back
            self._map.madvise(mmap.MADV_REMOVE, _HEADER + slot * self.slot_bytes, self.slot_bytes)

    def close(self) -> None:
        """Let go of the memory; the file stays."""
        self._words.release()
        self._bytes.release()
        self._map.close()


class Spare:
    """Descriptors kept for the moment in which a slab must be opened: one for the file, one for its mapping."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def keep(self, fd: int) -> None:
        """Have them, as copies of ``fd``, if there are any left."""
        if not self._fds:
            with suppress(OSError):
                self._fds = [os.dup(fd), os.dup(fd)]

    def drop(self) -> bool:
        """Give them up; whether there were any."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
        return bool(fds)

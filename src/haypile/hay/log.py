"""The journal's log: a file of batches, each of which costs one write that returns when the disk has it.

Owns: the file's layout, appending to it, and telling a whole batch from anything else.
Must not know: what is in a batch (``base``), who appends when (``journal``).

LMDB needs two syncs for a commit, one for the data and one for the page that names it. So a flush
is a batch appended here, and LMDB gets what has gathered when the log is full (a checkpoint), which
starts the log over with the next epoch.

Invariants:

* A batch begins at a multiple of 4096 bytes, so that no sector of an earlier one is written again.
* A batch is whole when its checksum says so. The sum covers the log's random number, the epoch and
  the batch's place in it, so neither a torn batch, nor one of an earlier epoch, nor anybody's
  message that looks like one is taken for a batch of this epoch.
* What is appended to has been written before (zeros), so that the disk has no metadata to write.

A batch is written past the page cache (open(2), O_DIRECT with O_DSYNC), which takes less time than a write and an
fdatasync, of the processor, too; where the file system cannot do that, it is these two.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from zlib import crc32

from haypile.hay.errors import UnusableDirectory
from haypile.hay.places import random_name, share

PAGE = 4096
#: The file grows by this many bytes.
STEP = 1 << 20
#: It is full when it has grown to this; a larger batch does not belong here.
FULL = 16 << 20
#: Free bytes of the disk below which an empty log does not keep its size.
LITTLE = 4 * FULL

#: A larger batch goes by way of the page cache: nobody waits for it alone.
LARGE = 256 << 10

_MAGIC = b"haypile log 1\n\0\0"
_NONCE_SIZE = 8
#: magic, checksum, epoch, place in the epoch, length
_HEAD = Struct("<4sIQQQ")
_BATCH = b"pile"
_PLACE = Struct("<QQQ")
#: What a file system says that does not write past the page cache, or not in pieces of 4096 bytes.
_NOT_HERE = (errno.EINVAL, errno.EOPNOTSUPP)


class Log:
    """The open file. All calls under the journal's lock."""

    def __init__(self, fd: int, nonce: bytes) -> None:
        """For ``open`` and ``make`` alone."""
        self.fd = fd
        #: Past the page cache; -1: not here.
        self._direct = open_direct(fd)
        self._aligned: mmap.mmap | None = None
        self._seed = crc32(nonce)
        self._size = os.fstat(fd).st_size

    @classmethod
    def open(cls, path: Path) -> Log:
        """The log at ``path``. Raises ``FileNotFoundError``, ``UnusableDirectory`` when it is no log."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        head = os.pread(fd, len(_MAGIC) + _NONCE_SIZE, 0)
        if head[: len(_MAGIC)] != _MAGIC or len(head) < len(_MAGIC) + _NONCE_SIZE:
            os.close(fd)
            raise UnusableDirectory(f"{path} is no log of a haypile journal; move that directory away")
        return cls(fd, head[len(_MAGIC) :])

    @classmethod
    def make(cls, path: Path) -> Log:
        """A new, empty log, put in place whole."""
        nonce = os.urandom(_NONCE_SIZE)
        aside = path.with_name(f".{path.name}.{random_name()}")
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            share(fd, path.parent)
            os.pwrite(fd, _MAGIC + nonce + bytes(PAGE - len(_MAGIC) - _NONCE_SIZE), 0)
            os.fsync(fd)
            os.rename(aside, path)
        except BaseException:
            os.close(fd)
            aside.unlink(missing_ok=True)
            raise
        return cls(fd, nonce)

    @property
    def gone(self) -> bool:
        """Whether somebody removed the file."""
        return os.fstat(self.fd).st_nlink == 0

    def append(self, epoch: int, at: int, count: int, payload: bytes) -> int:
        """Write batch number ``count`` of ``epoch`` at ``at``; on disk when this returns the next place."""
        end = at + _round(_HEAD.size + len(payload))
        self._grow(end)
        head = _HEAD.pack(_BATCH, self._sum(epoch, count, payload), epoch, count, len(payload))
        data = head + payload
        if self._direct < 0 or end - at > LARGE or not self._append_directly(data, at, end - at):
            written = os.pwrite(self.fd, data, at)
            while written < len(data):
                written += os.pwrite(self.fd, data[written:], at + written)
            os.fdatasync(self.fd)
        return end

    def _append_directly(self, data: bytes, at: int, size: int) -> bool:
        """Write ``data`` and zeros, ``size`` bytes; whether the disk has them."""
        if self._aligned is None:
            self._aligned = mmap.mmap(-1, LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._aligned[:size] = data.ljust(size, b"\0")
        try:
            with memoryview(self._aligned)[:size] as aligned:
                return os.pwritev(self._direct, [aligned], at) == size
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            os.close(self._direct)
            self._direct = -1
            return False

    def _grow(self, end: int) -> None:
        while self._size < end:
            # Another process may have written further: never write zeros over that.
            self._size = os.fstat(self.fd).st_size
            if self._size < end:
                if self._free() < self._size + STEP:
                    # What is in the log must find room in the base.
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.pwrite(self.fd, bytes(STEP), _round(self._size))
                self._size = os.fstat(self.fd).st_size
                if self._direct >= 0:
                    # Else each batch waited for the zeros of its place.
                    os.fdatasync(self.fd)

    def cut(self, at: int) -> None:
        """Give back the room of what lies beyond ``at``."""
        os.ftruncate(self.fd, at)
        self._size = at

    @property
    def is_luxury(self) -> bool:
        """Whether the disk has so little room that an empty log should not take any."""
        return self._free() < LITTLE

    def _free(self) -> int:
        state = os.fstatvfs(self.fd)
        return state.f_bavail * state.f_frsize

    def _sum(self, epoch: int, count: int, payload: bytes) -> int:
        return crc32(payload, crc32(_PLACE.pack(epoch, count, len(payload)), self._seed))

    def batches(self, epoch: int) -> Iterator[tuple[int, bytes]]:
        """The whole batches of ``epoch``, in order: (where the next one goes, payload)."""
        at, count = PAGE, 0
        size = os.fstat(self.fd).st_size
        while True:
            head = os.pread(self.fd, _HEAD.size, at)
            if len(head) < _HEAD.size:
                return
            magic, checksum, found, place, length = _HEAD.unpack(head)
            if magic != _BATCH or (found, place) != (epoch, count) or at + _HEAD.size + length > size:
                return
            payload = os.pread(self.fd, length, at + _HEAD.size)
            if len(payload) < length or self._sum(epoch, count, payload) != checksum:
                return
            at += _round(_HEAD.size + length)
            count += 1
            yield at, payload

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self.fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self.fd = self._direct = -1


def open_direct(fd: int) -> int:
    """The file of ``fd`` once more, to be written to past the page cache; -1: its file system does not do that."""
    if not hasattr(os, "O_DIRECT"):
        return -1
    try:
        # By way of /proc: the name may be another file's by now.
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC)
    except OSError:
        return -1


def _round(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE

"""Space given back: the pages of an LMDB file that hold nothing become holes in it.

Owns: reading LMDB's own list of free pages, what is worth giving back, punching the holes.
Must not know: whose file it is, locks, when.

LMDB's files never shrink. Its data format (version 1, of every release from 0.9.0 on) keeps a tree of the free
pages: transaction that freed them -> their numbers. A page freed by transaction K is in use by no view from
K on, and LMDB itself overwrites it once K is older than the last view but one and than every reader. By the
same rule it may be made a hole here, while everybody goes on: what LMDB may overwrite at any time, nobody
reads. LMDB (without writemap, as here) never reads a free page before it has written it whole.

Every step is harmless to be killed after: a hole in a page that holds nothing changes nothing. The file keeps
its length; what counts is the room it takes (``st_blocks``).

Invariant: nothing is punched unless every page of the file is accounted for: the pages of the trees, as
LMDB counts them, and the free ones found here are together all that there are. A format that is read wrongly
does not add up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import chain
from struct import Struct
from typing import Any, NamedTuple

#: Free pages that stay, bytes (the lowest, which LMDB takes first): at most, and as a share of the file system.
KEPT_MOST, KEPT_SHARE = 16 << 20, 16
#: It is worth while when so many times that is free, and the data takes at most this share of the file.
WORTH, USED_SHARE = 4, 4
#: Bytes given back at a time, at least: others wait meanwhile; and the share of the file.
SLICE_LEAST, SLICE_SHARE = 64 << 20, 16

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE_HEAD = 16
#: Of a page: flags, lower bound of the free space (its node offsets end there).
_PAGE = Struct("=10xHH2x")
_BRANCH, _LEAF = 1, 2
#: Of a meta page, behind its head: magic, version, address, map size.
_META = Struct("=IIQQ")
#: A tree: page size (of the first one), flags, depth, pages (branch, leaf, overflow), entries, root.
_TREE = Struct("=IHHQQQQQ")
#: The last page's number, and the transaction's.
_LAST = Struct("=QQ")
_NODE = Struct("=HHHH")
_BIG = 1
_NUMBER = Struct("=Q")
_NO_PAGE = (1 << 64) - 1

_KEEP_SIZE, _PUNCH_HOLE = 1, 2


class Strange(Exception):
    """The file is not what is understood here."""


class Meta(NamedTuple):
    """What a meta page says."""

    number: int
    page_size: int
    pages: int
    #: Root of the tree of free pages, and the pages of that tree itself.
    free_root: int
    free_tree: int


#: Makes a hole in the file: descriptor, start, length. Raises ``OSError``.
Puncher = Callable[[int, int, int], None]


def _puncher() -> Puncher | None:
    """The system's call for it; None where there is none (macOS)."""
    import ctypes  # noqa: PLC0415 - a process that gives nothing back can do without

    library = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if fallocate is None:
        return None
    call: Callable[..., int] = fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

    def punch(fd: int, start: int, length: int) -> None:
        if call(fd, _KEEP_SIZE | _PUNCH_HOLE, start, length):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return punch


def oldest_view(env: Any) -> int:
    """Number of the oldest transaction whose outcome somebody reads; of the last one, if nobody does."""
    last = int(env.info()["last_txnid"])
    # LMDB's table: process, thread, number; its first line says so.
    numbers = [line.split()[-1] for line in env.readers().splitlines()[1:] if line.strip()]
    return min([last, *(int(number) for number in numbers if number.isdigit())])


def is_worth_while(fd: int, live: int) -> bool:
    """Whether the file takes so much more room than the ``live`` bytes of its data that some should be given back."""
    taken = os.fstat(fd).st_blocks * 512
    return taken - live > WORTH * kept(fd) and live * USED_SHARE < taken


def kept(fd: int) -> int:
    """Bytes of free pages that stay."""
    state = os.fstatvfs(fd)
    return min(KEPT_MOST, state.f_blocks * state.f_frsize // KEPT_SHARE)


class Holes:
    """Punches holes into the free pages of the file ``fd``, a part at a time.

    Which pages are free is read once, and again when somebody has written meanwhile: a great file has a long list.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        #: Neighbours that are still to be punched, as the transaction ``_number`` left them.
        self._runs: Iterator[tuple[int, int]] = iter(())
        self._number = -1

    def give_back(self, live: int, oldest: int) -> int:
        """Punch a part; how many bytes the file takes less.

        Nobody may write meanwhile. ``live``: pages of all trees but that of the free pages, as LMDB counts them;
        ``oldest``: the number of the oldest view that is being read, or of the last transaction.
        0 where the file system cannot do it, or the file is not understood.
        """
        punch = _puncher()
        if punch is None:
            return 0
        before = os.fstat(self._fd).st_blocks
        try:
            meta = read_meta(self._fd)
            if meta.number != self._number:
                self._runs = _runs(self._look(meta, live, min(oldest, meta.number)))
                self._number = meta.number
            self._punch_some(punch, meta)
        except (Strange, OSError):
            pass
        return (before - os.fstat(self._fd).st_blocks) * 512

    def _look(self, meta: Meta, live: int, limit: int) -> list[int]:
        """Free pages that are worth giving back, sorted. Raises ``Strange``."""
        numbers: list[int] = []
        count = 0
        for freed, some in free_pages(self._fd, meta):
            count += len(some)
            if freed < limit:
                numbers += some
        if 2 + meta.free_tree + live + count != meta.pages or len(set(numbers)) != len(numbers):
            raise Strange
        numbers.sort()
        del numbers[: kept(self._fd) // meta.page_size]
        return numbers

    def _punch_some(self, punch: Puncher, meta: Meta) -> None:
        most = max(SLICE_LEAST, meta.pages * meta.page_size // SLICE_SHARE)
        for first, last in self._runs:
            start, end = first * meta.page_size, (last + 1) * meta.page_size
            while (part := _data_between(self._fd, start, end)) is not None:
                if most <= 0:
                    self._runs = chain([(part[0] // meta.page_size, last)], self._runs)
                    return
                start, stop = part
                stop = min(stop, start + most)
                punch(self._fd, start, stop - start)
                most -= stop - start
                start = stop


def _data_between(fd: int, start: int, end: int) -> tuple[int, int] | None:
    """The first part between ``start`` and ``end`` that is no hole yet."""
    if start >= end:
        return None
    try:
        start = os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return (start, min(end, os.lseek(fd, start, os.SEEK_HOLE))) if start < end else None


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in the sorted ``numbers``, as (first, last), from the end of the file on."""
    if not numbers:
        return
    first = last = numbers[-1]
    for number in reversed(numbers[:-1]):
        if number != first - 1:
            yield first, last
            last = number
        first = number
    yield first, last


def read_meta(fd: int) -> Meta:
    """The meta page that counts. Raises ``Strange``."""
    metas = []
    page_size = 4096
    for place in (0, 1):
        start = place * page_size + _PAGE_HEAD
        size = _META.size + 2 * _TREE.size + _LAST.size
        data = os.pread(fd, size, start)
        if len(data) < size:
            raise Strange
        magic, version, _, _ = _META.unpack_from(data)
        found, _, _, *counts, _, root = _TREE.unpack_from(data, _META.size)
        last, number = _LAST.unpack_from(data, _META.size + 2 * _TREE.size)
        if (magic, version) != (_MAGIC, _VERSION) or found < 512 or found & (found - 1):
            raise Strange
        page_size = found
        metas.append(Meta(number, page_size, last + 1, root, sum(counts)))
    return max(metas)


def free_pages(fd: int, meta: Meta) -> Iterator[tuple[int, list[int]]]:
    """(number of the transaction that freed them, free pages). Raises ``Strange`` for what cannot be."""
    if meta.free_root != _NO_PAGE:
        yield from _Walk(fd, meta).below(meta.free_root)


class _Walk:
    """One way through the tree of free pages, which may be anything."""

    def __init__(self, fd: int, meta: Meta) -> None:
        self.fd = fd
        self.meta = meta
        #: Pages still to come, at most.
        self.left = meta.free_tree

    def below(self, place: int) -> Iterator[tuple[int, list[int]]]:
        """What the page ``place`` and those below it say."""
        size = self.meta.page_size
        page = self.read(place, size)
        flags, lower = _PAGE.unpack_from(page)
        if flags & 0xFF not in (_BRANCH, _LEAF) or not _PAGE_HEAD <= lower <= size or lower % 2:
            raise Strange
        for at in memoryview(page)[:lower].cast("H").tolist()[_PAGE_HEAD // 2 :]:
            if at + _NODE.size > size:
                raise Strange
            low, high, node_flags, key_size = _NODE.unpack_from(page, at)
            if flags & _BRANCH:
                yield from self.below(low | high << 16 | node_flags << 32)
                continue
            start = at + _NODE.size + _NUMBER.size
            if key_size != _NUMBER.size or start + _NUMBER.size > size:
                raise Strange
            length = low | high << 16
            if node_flags & _BIG:
                data = self.read(_NUMBER.unpack_from(page, start)[0], _PAGE_HEAD + length)[_PAGE_HEAD:]
            else:
                data = page[start : start + length]
            yield _NUMBER.unpack_from(page, at + _NODE.size)[0], self.numbers(data)

    def numbers(self, data: bytes) -> list[int]:
        """Page numbers in a record of the tree: their count, then they."""
        if len(data) % 8 or not data:
            raise Strange
        count, *numbers = memoryview(data).cast("Q").tolist()
        # LMDB may have made it larger than it needed it.
        if count > len(numbers):
            raise Strange
        del numbers[count:]
        if numbers and (min(numbers) < 2 or max(numbers) >= self.meta.pages):
            raise Strange
        return numbers

    def read(self, place: int, size: int) -> bytes:
        """``size`` bytes from the page ``place`` on."""
        pages = -(-size // self.meta.page_size)
        self.left -= pages
        if self.left < 0 or not 2 <= place <= self.meta.pages - pages:
            raise Strange
        data = os.pread(self.fd, size, place * self.meta.page_size)
        if len(data) < size:
            raise Strange
        return data

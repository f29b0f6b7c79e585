"""Counters per queue that all processes of a vhost add to, and that outlive each of them.

Owns: a session's file of counts (``sessions/ID.counts``), and the totals in the store.
Must not know: what is counted when (the broker); which queues live.

A session counts in shared memory of its own: one row of eight words for each queue it uses, so counting
takes no lock and no transaction, and a killed process has counted all that it did. The transaction that deletes the
session's row, by itself or by whoever recovers it, adds its counts to the totals: so each is added once.
A total is what the store says and what living sessions have counted since (``totals``).

Row: the queue's id, then the words of ``NAMES``. A row belongs to one handle for its life.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from haypile.hay.layout import PREFIX, TOTAL, TOTALS
from haypile.hay.places import share

if TYPE_CHECKING:
    from haypile.hay.store import Hay
    from haypile.hay.txn import WriteTxn

#: What is counted, and its word in a row.
NAMES = ("published", "delivered", "acked", "redelivered", "dead_lettered", "expired")
PUBLISHED, DELIVERED, ACKED, REDELIVERED, DEAD_LETTERED, EXPIRED = range(1, 7)
#: What a word holds at most: others can write there, and what counts on wraps around.
MOST = (1 << 64) - 1
_WORDS = 8
_PAGE = mmap.PAGESIZE
_ROWS = _PAGE // (8 * _WORDS)
#: Looks at sessions that come and go meanwhile.
_TRIES = 20

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG)

#: The counts of a queue, in the order of ``NAMES``.
Counts = tuple[int, ...]


def uncounted() -> memoryview:
    """A row that nobody reads."""
    return memoryview(bytearray(8 * _WORDS)).cast("Q")


class Counters:
    """The counts of one session."""

    def __init__(self, path: Path) -> None:
        """The file at ``path`` is made with the first row."""
        self._path = path
        self._rows: list[memoryview] = []
        #: Rows of the last page that nobody has.
        self._free: list[memoryview] = []

    def row(self, queue: int) -> memoryview:
        """A new row for ``queue``: a handle adds to its words. Where there is no room it is not shared."""
        if not self._free:
            words = self._page(len(self._rows) // _ROWS)
            self._free = [words[at : at + _WORDS] for at in range(len(words) - _WORDS, -1, -_WORDS)]
        row = self._free.pop()
        row[0] = queue
        self._rows.append(row)
        return row

    def _page(self, number: int) -> memoryview:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                share(fd, self._path.parent)
                os.posix_fallocate(fd, number * _PAGE, _PAGE)
                return memoryview(mmap.mmap(fd, _PAGE, offset=number * _PAGE)).cast("Q")
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # Counts are worth less than the work; at an orderly end they are added all the same.
            return memoryview(bytearray(_PAGE)).cast("Q")

    def items(self) -> Iterator[tuple[int, Counts]]:
        """Queue id and counts of every row."""
        for row in self._rows:
            yield row[0], tuple(row[1 : 1 + len(NAMES)])

    def close(self) -> None:
        """Let go of the memory (handles may still hold their rows)."""
        self._rows, self._free = [], []


def read(path: Path) -> list[tuple[int, Counts]]:
    """The counts in the file of another session. Raises FileNotFoundError."""
    words = memoryview(path.read_bytes()).cast("Q")
    rows = [words[at : at + _WORDS] for at in range(0, len(words), _WORDS)]
    return [(row[0], tuple(row[1 : 1 + len(NAMES)])) for row in rows if row[0]]


def read_dead(path: Path) -> list[tuple[int, Counts]]:
    """The counts that a dead session left; none where it had not begun to count."""
    try:
        return read(path)
    except FileNotFoundError:
        return []


def fold(txn: WriteTxn, counts: Iterable[tuple[int, Counts]], alive: Iterable[int]) -> None:
    """Add the ``counts`` of a session that ends to the totals of those queues that are ``alive`` (ids)."""
    for queue, sums in _sum(counts).items():
        if any(sums) and queue in alive:
            value = txn.get_internal(_key(queue))
            before = TOTAL.unpack(value) if value is not None else (0,) * len(NAMES)
            after = (one + more & MOST for one, more in zip(before, sums, strict=True))
            txn.put_internal(_key(queue), TOTAL.pack(*after))


def forget(txn: WriteTxn, queue: int) -> None:
    """The queue is gone, and with it what was counted for it."""
    txn.delete_internal(_key(queue))


def _key(queue: int) -> bytes:
    return PREFIX.pack(TOTALS, queue)


def totals(hay: Hay) -> dict[int, Counts]:
    """The counts of every queue (by id) that anybody has counted for."""
    for _ in range(_TRIES):
        with hay.read() as reading:
            sessions = reading.session_ids()
            rows = reading.scan(bytes((TOTALS,)))
            found: list[tuple[int, Counts]] = [(int.from_bytes(key[1:], "big"), TOTAL.unpack(row)) for key, row in rows]
        for session in sessions:
            found += read_dead(hay.peers.path(session, ".counts"))
        with hay.read() as reading:
            # Who left meanwhile has added its counts to totals that we have not read.
            if set(sessions) <= set(reading.session_ids()):
                break
    return _sum(found)


def _sum(rows: Iterable[tuple[int, Counts]]) -> dict[int, Counts]:
    sums: dict[int, Counts] = {}
    for queue, counts in rows:
        before = sums.get(queue)
        sums[queue] = counts if before is None else tuple(a + b for a, b in zip(before, counts, strict=True))
    return sums

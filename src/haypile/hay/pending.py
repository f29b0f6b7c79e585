"""What the journal does not know of yet: rows that each transaction leaves beside its changes.

Owns: the pending rows: what they say, when two of them cancel out, which of them a flush has settled.
Must not know: the journal's files (``journal``), which messages and rows are to be kept (the broker).

A row says of one message, or of one topology row, how the journal differs from the store, so there
is never more than one for each, and a flush that is killed and done again does no harm. Its
stamp is the number of the LMDB transaction that wrote it: a flush reads the store as of one
transaction, and once all that is on disk, every row stamped up to it is settled.

A message that is put and deleted again before any flush read its row leaves nothing. What a flush may
have read, on the other hand, must be deleted from the journal, too: FLUSHING in the gate page says
up to which transaction a flush has read. It is set under the write lock.

=====  =====================================================================================
op     the journal …
=====  =====================================================================================
PUT    does not have the message: the entry's value follows (``layout``)
AGAIN  may have it, though not as it is now: the entry's value follows
GONE   may have the message, the store has not
HELD   has the message, and does not know how often it was delivered: u32
PURGE  has messages of this queue which the store has no more
ROW    may have another value of this topology row
=====  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct

from haypile.hay.gates import FLUSHING, PENDING
from haypile.hay.layout import HEAD, HEAD_SIZE, NOTED
from haypile.hay.reading import ReadTxn
from haypile.hay.writing import Writing

#: First byte of the key: a message (or a queue); a topology row.
MESSAGE_ROW, TOPOLOGY_ROW = b"\x30", b"\x31"

PUT, AGAIN, GONE, HELD, PURGE, ROW = range(6)
#: Bit of PUT: whoever published the message waits to hear that it is safe.
AWAITED = 0x80

#: stamp, op
STAMP = Struct("<QB")
STAMP_SIZE = STAMP.size
_COUNT = Struct("<I")


class Noting(Writing):
    """A write transaction that leaves word for the journal, if the store has one."""

    __slots__ = ()

    def _stamp(self, op: int) -> bytes:
        number = self.noted
        if not number:
            journal = self._hay.journal
            if journal is not None:
                journal.prepare()
            self.noted = number = self._txn.id()
            # Before the commit: nobody may be killed in between. Too high a number does no harm.
            self._hay.gates.words[PENDING] = number
        return STAMP.pack(number, op)

    def note_put(self, tail: bytes, value: bytes, op: int) -> None:
        """A message was put: ``tail`` is queue and order, ``value`` that of its entry."""
        if self._hay.journal is not None:
            self._put(MESSAGE_ROW + tail, self._stamp(op) + value)

    def note_puts(self, entries: Sequence[tuple[bytes, bytes]], op: int) -> None:
        """``note_put`` for keys and values of entries that are put together."""
        if entries and self._hay.journal is not None:
            stamp = self._stamp(op)
            with self._txn.cursor() as cursor:
                cursor.putmulti([(MESSAGE_ROW + key[1:], stamp + value) for key, value in entries])

    def note_gone(self, tail: bytes) -> None:
        """The message is deleted."""
        if self._hay.journal is not None:
            self._gone(tail, self._txn.pop)

    def note_all_gone(self, tails: Sequence[bytes]) -> None:
        """The messages are deleted: by one cursor, which finds each beside the one before."""
        if len(tails) < 2:
            for tail in tails:
                self.note_gone(tail)
        elif self._hay.journal is not None:
            with self._txn.cursor() as cursor:
                for tail in tails:
                    self._gone(tail, cursor.pop)

    def _gone(self, tail: bytes, pop: Callable[[bytes], bytes | None]) -> None:
        row = pop(MESSAGE_ROW + tail)
        if row is not None:
            stamp, op = STAMP.unpack_from(row)
            if op & ~AWAITED == PUT and stamp > self._hay.gates.words[FLUSHING]:
                if op & AWAITED:
                    self.released.add(int.from_bytes(tail[-4:], "big"))
                return
        self._put(MESSAGE_ROW + tail, self._stamp(GONE))

    def note_held(self, tail: bytes, deliveries: int) -> None:
        """The message was handed out; ``deliveries``: as ``Entry.deliveries``."""
        if self._hay.journal is None:
            return
        key = MESSAGE_ROW + tail
        row = self._get(key)
        stamp, op = STAMP.unpack_from(row) if row is not None else (0, HELD)
        if op & ~AWAITED == PUT or op == AGAIN:
            read = op == AGAIN or stamp <= self._hay.gates.words[FLUSHING]
            kind, flags, _, expires, size, body = HEAD.unpack_from(row, STAMP_SIZE)
            self._put(
                key,
                self._stamp(AGAIN if read else op)
                + HEAD.pack(kind, flags | NOTED, deliveries, expires, size, body)
                + row[STAMP_SIZE + HEAD_SIZE :],
            )
        elif op == HELD:
            self._put(key, self._stamp(HELD) + _COUNT.pack(deliveries))

    def note_purge(self, queue: int, tails: Iterable[bytes]) -> None:
        """All ready messages of ``queue`` were deleted; ``tails``: those the journal may have."""
        if self._hay.journal is not None:
            for tail in tails:
                self._txn.delete(MESSAGE_ROW + tail)
            self._put(MESSAGE_ROW + queue.to_bytes(4, "big"), self._stamp(PURGE))

    def note_row(self, key: bytes) -> None:
        """The topology row ``key``, which the journal keeps, was changed or deleted."""
        if self._hay.journal is not None:
            self._put(TOPOLOGY_ROW + key, self._stamp(ROW))

    def settle(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """A flush has done what these pending rows (key, value) said: those that did not change go."""
        get, delete = self._get, self._txn.delete
        for key, value in rows:
            row = get(key)
            if row is not None and row[:STAMP_SIZE] == value[:STAMP_SIZE]:
                delete(key)


def is_safe(row: bytes | None, flushed: int) -> bool:
    """Whether the message whose pending row is ``row`` needs no flush beyond ``flushed`` any more."""
    if row is None:
        return True
    stamp, op = STAMP.unpack_from(row)
    return bool(stamp <= flushed or op in (GONE, HELD))


def are_safe(reading: ReadTxn, tails: Sequence[bytes], flushed: int) -> bool:
    """Whether this is so for all messages whose tails (see ``note_put``) these are: one or more."""
    if reading.first_internal(MESSAGE_ROW + min(tails), MESSAGE_ROW + max(tails)) is None:
        return True
    # Consumers come to the last one last.
    return all(is_safe(reading.get_internal(MESSAGE_ROW + tail), flushed) for tail in reversed(tails))


def deliveries_of(row: bytes) -> int:
    """What a HELD row says."""
    return int(_COUNT.unpack_from(row, STAMP_SIZE)[0])

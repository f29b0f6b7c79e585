"""What a flush writes into the journal: the operations that make it say what the store says.

Owns: the translation of pending rows, and of the whole store, into operations.
Must not know: files, locks; what rows mean (the broker says which are kept).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from haypile.hay import pending
from haypile.hay.base import CLEAR, DELETE, KEEP, SET, TOPOLOGY, Operation, drop_message, hold_message, put_message
from haypile.hay.layout import HEAD_SIZE, HELD_HEAD, ID_ROW, JOURNALED, entry_of
from haypile.hay.reading import ReadTxn

#: Bytes of operations beyond which a flush goes straight into the base.
LARGE = 2 << 20


class Copy:
    """Reads a store for its journal. ``keeps``: whether a topology row (key, value) is for the journal."""

    def __init__(self, keeps: Callable[[bytes, bytes], bool]) -> None:
        self._keeps = keeps
        #: Counters of ids as the journal has them for certain.
        self._ids: dict[bytes, bytes] = {}

    def forget(self) -> None:
        """What was read was perhaps not written."""
        self._ids.clear()

    def changes(self, reader: ReadTxn, rows: list[tuple[bytes, bytes]]) -> Iterator[Operation]:
        """What the pending ``rows`` of ``reader``'s view say."""
        yield from self._counters(reader)
        for key, row in rows:
            op = pending.STAMP.unpack_from(row)[1] & ~pending.AWAITED
            tail = key[1:]
            if op == pending.ROW:
                value = reader.row(tail)
                if value is not None and self._keeps(tail, value):
                    yield SET, TOPOLOGY + tail, value
                else:
                    yield DELETE, TOPOLOGY + tail, b""
            elif op in (pending.PUT, pending.AGAIN):
                value = row[pending.STAMP_SIZE :]
                yield put_message(tail, value, _record(reader, value))
            elif op == pending.GONE:
                yield from drop_message(tail)
            elif op == pending.HELD:
                yield hold_message(tail, pending.deliveries_of(row))
            elif op == pending.PURGE:
                yield KEEP, tail, b"".join(sorted(_orders(reader, tail)))

    def everything(self, reader: ReadTxn) -> Iterator[Operation]:
        """All that is to be kept, for a journal that has nothing."""
        yield CLEAR, b"", b""
        self._ids.clear()
        yield from self._counters(reader)
        for key, value in reader.rows():
            if self._keeps(key, value):
                yield SET, TOPOLOGY + key, value
        for tail, value in _journaled(reader):
            yield put_message(tail, value, _record(reader, value))

    def _counters(self, reader: ReadTxn) -> Iterator[Operation]:
        for key, value in reader.scan(ID_ROW):
            if self._ids.get(key) != value:
                self._ids[key] = value
                yield SET, key, value


def _record(reader: ReadTxn, value: bytes) -> bytes:
    """The record of the message whose entry is ``value``."""
    entry = entry_of(0, b"", value)
    return reader.record(entry) if entry.body else value[HEAD_SIZE:]


def _journaled(reader: ReadTxn) -> Iterator[tuple[bytes, bytes]]:
    """Every message, ready or held, that is to be kept: its queue and order, its entry's value."""
    for key, value in reader.scan(b"\xff"):
        if len(key) == HELD_HEAD + 1 and value[1] & JOURNALED:
            yield key[1:], value
    for _, value in reader.scan(b"\x80"):
        if value[HELD_HEAD + 1] & JOURNALED:
            yield value[:HELD_HEAD], value[HELD_HEAD:]


def _orders(reader: ReadTxn, queue: bytes) -> Iterator[bytes]:
    """The order of every message of ``queue``, ready or held, that is to be kept."""
    for key, value in reader.scan(b"\xff" + queue):
        if len(key) == HELD_HEAD + 1 and value[1] & JOURNALED:
            yield key[5:]
    for _, value in reader.scan(b"\x80"):
        if value.startswith(queue) and value[HELD_HEAD + 1] & JOURNALED:
            yield value[4:HELD_HEAD]


def in_parts(operations: Iterator[Operation]) -> Iterator[list[Operation]]:
    """``operations``, no more than LARGE bytes of them at a time."""
    part: list[Operation] = []
    size = 0
    for operation in operations:
        part.append(operation)
        size += len(operation[1]) + len(operation[2])
        if size > LARGE:
            yield part
            part, size = [], 0
    yield part

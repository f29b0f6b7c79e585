"""How keys and values of the store look.

Owns: the layout of LMDB's keys and values, and ``Entry``, a message without its record.
Must not know: transactions, files; what rows and records mean (the broker).

Main tree, by first byte of the key:

====  =========================  ==========================================================
00    name                       the store's own small rows: version, ids, gate slots
10    session u32                session row
20    when u64, kind, queue u32  a queue to be looked at (``due``)
30    queue u32, order           a message the journal does not know of yet (``pending``)
30    queue u32                  a purged queue, the same
31    row key                    a topology row, the same
40    body u64                   how many entries share that body
50    queue u32                  what was counted for the queue (``counters``): six u64
80    session u32, tag u64       an entry held by a session: queue u32, order, entry value
ff    queue u32                  count of the queue's ready entries: number u64, bytes u64
ff    queue u32, order           a ready entry
====  =========================  ==========================================================

Named trees: ``rows`` (topology), ``log`` (version u64 -> changed row), ``body`` (u64 -> record).
Integers in keys are big-endian, so that keys sort as numbers. A queue's count lies beside its
head: a short queue costs one page per transaction. Ready entries are the last of the main tree
and bodies have a tree of their own, so that both fill their pages when a backlog grows (LMDB
halves a page when a key falls inside it, and leaves it full when the key comes behind the last).

An entry's value is a head, followed by the record itself when that is small, else the record lies
in ``body``.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

#: LMDB's limit for a key, bytes.
MAX_ROW_KEY = 511

#: Records up to this size (bytes) lie beside their key: their body would cost as much again. Larger
#: ones are not copied when they move between ready and held, and moving them needs no fresh pages.
INLINE_MOST = 512

READY, HELD, SESSION, REFS, TOTALS, OWN = 0xFF, 0x80, 0x10, 0x40, 0x50, 0x00

VERSION_ROW = b"\x00v"
NONCE_ROW = b"\x00n"
BOOT_ROW = b"\x00b"
OFFSET_ROW = b"\x00o"
ID_ROW = b"\x00i"

#: (READY, queue) or (SESSION | HELD, session)
PREFIX = Struct(">BI")
TAG = Struct(">BIQ")
BODY = Struct(">Q")
REFS_KEY = Struct(">BQ")
COUNT = Struct("<QQ")
TOTAL = Struct("<6Q")
LOG_KEY = Struct(">Q")
#: the row lives, length of its key
LOG_HEAD = Struct("<?H")
#: kind, flags, deliveries, expires, size, body
HEAD = Struct("<BBIQIQ")
HEAD_SIZE = HEAD.size
#: Bytes before the entry value in a held row: queue u32, order.
HELD_HEAD = 17

#: Bits of an entry's flags that are the store's own; the others are the caller's.
#: The journal keeps this message; the journal knows that somebody has held it.
JOURNALED, NOTED = 0x80, 0x40
OWN_FLAGS = JOURNALED | NOTED

#: Kinds of entry: record inline, in a body of its own, in a body shared with other entries.
INLINE, OWN_BODY, SHARED_BODY = 0, 1, 2

_unpack_head = HEAD.unpack_from
_new_entry = tuple.__new__


class Entry(NamedTuple):
    """One message of a queue, without its record."""

    queue: int
    #: 13 bytes: 255 - priority u8, time ns u64, session u32, big-endian.
    order: bytes
    #: The caller's, with JOURNALED and NOTED.
    flags: int
    deliveries: int
    #: ns of ``Hay.now()``; 0: never.
    expires: int
    #: Bytes of the record.
    size: int
    #: Where the record lies; 0: beside the entry.
    body: int


def entry_of(queue: int, order: bytes, value: bytes, at: int = 0) -> Entry:
    """The entry whose head stands in ``value`` at ``at``."""
    _, flags, deliveries, expires, size, body = _unpack_head(value, at)
    return _new_entry(Entry, (queue, order, flags, deliveries, expires, size, body))


def held_entry(value: bytes) -> Entry:
    """The entry in the value of a held row."""
    return entry_of(int.from_bytes(value[:4], "big"), value[4:HELD_HEAD], value, HELD_HEAD)

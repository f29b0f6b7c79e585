"""The reading half of transactions.

Owns: every way to look something up in a vhost's store.
Must not know: how things are changed (``txn``); files, locks, processes (``store``).
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb

from haypile.hay.errors import damaged
from haypile.hay.layout import (
    BODY,
    COUNT,
    HEAD_SIZE,
    HELD,
    HELD_HEAD,
    LOG_HEAD,
    LOG_KEY,
    PREFIX,
    READY,
    SESSION,
    TAG,
    VERSION_ROW,
    Entry,
    entry_of,
    held_entry,
)

if TYPE_CHECKING:
    from haypile.hay.store import Hay

_Self = TypeVar("_Self", bound="ReadTxn")

_prefix = PREFIX.pack
_body_key = BODY.pack
_unpack_count = COUNT.unpack


#: Stands for a transaction that is just beginning.
PENDING = object()


class ReadTxn:
    """A consistent view of the store. From ``Hay.read()``; use it as a context manager."""

    __slots__ = ("_get", "_hay", "_txn", "spare", "thread")

    _get: Any

    def __init__(self, hay: Hay, *, spare: bool = False) -> None:
        self._hay = hay
        #: None: not open. PENDING: about to be, so a fork waits.
        self._txn: Any = None
        #: Whether it is the one that reuses its reader slot.
        self.spare = spare
        #: The thread that opened it last.
        self.thread = 0

    def __enter__(self: _Self) -> _Self:
        self._txn = PENDING
        self.thread = get_ident()
        try:
            self._txn = txn = self._hay.begin_read(self)
        except BaseException:
            self._txn = None
            self._hay.end_read(self)
            raise
        self._get = txn.get
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        txn = self._txn
        if txn is not None:
            txn.abort()
            self._txn = None
            self._hay.end_read(self)
        if isinstance(error, lmdb.Error):
            raise damaged(self._hay.directory, error) from error

    @property
    def active(self) -> bool:
        """Whether it is open, or about to be."""
        return self._txn is not None

    def abandon(self) -> None:
        """Its end, where ``__exit__`` was not reached: for ``Hay.let_go``."""
        txn, self._txn = self._txn, None
        if txn is not None and txn is not PENDING:
            txn.abort()
        self._hay.end_read(self)

    def wait(self) -> None:
        """It is not about to be open after all: a fork may go on."""
        self._txn = None

    def go_on(self) -> None:
        """It is about to be open."""
        self._txn = PENDING

    # -- topology rows ------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Topology version: grows by one with each changed row."""
        return int.from_bytes(self._get(VERSION_ROW) or b"", "big")

    def row(self, key: bytes) -> bytes | None:
        """The topology row ``key``."""
        value: bytes | None = self._get(key, None, self._hay.db_rows)
        return value

    def rows(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Topology rows whose key starts with ``prefix``, in key order."""
        with self._txn.cursor(self._hay.db_rows) as cursor:
            found = cursor.set_range(prefix) if prefix else cursor.first()
            while found:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                found = cursor.next()

    def changes(self, since: int) -> list[tuple[int, bytes, bytes | None]] | None:
        """What changed after version ``since``: (version, key, value; None for a deleted row).

        None when the log does not reach back that far: read all rows anew.
        """
        version = self.version
        if since >= version:
            return [] if since == version else None
        found: list[tuple[int, bytes, bytes | None]] = []
        with self._txn.cursor(self._hay.db_log) as cursor:
            more = cursor.set_range(LOG_KEY.pack(since + 1))
            while more:
                at, value = cursor.item()
                alive, length = LOG_HEAD.unpack_from(value)
                end = LOG_HEAD.size + length
                key = value[LOG_HEAD.size : end]
                found.append((int.from_bytes(at, "big"), key, value[end:] if alive else None))
                more = cursor.next()
        return found if found and found[0][0] == since + 1 else None

    # -- messages -----------------------------------------------------------------------------

    def count(self, queue: int) -> tuple[int, int]:
        """Ready messages of ``queue`` and the bytes of their records."""
        row = self._get(_prefix(READY, queue))
        return _unpack_count(row) if row is not None else (0, 0)

    def head(self, queue: int) -> Entry | None:
        """The ready message of ``queue`` with the lowest key."""
        found = self.entries(queue, 1)
        return found[0] if found else None

    def entries(self, queue: int, limit: int) -> list[Entry]:
        """Up to ``limit`` ready messages from the head of ``queue``."""
        prefix = _prefix(READY, queue)
        found: list[Entry] = []
        with self._txn.cursor() as cursor:
            more = cursor.set_range(prefix + b"\x00")
            while more and len(found) < limit:
                key, value = cursor.item()
                if key[:5] != prefix:
                    break
                found.append(entry_of(queue, key[5:], value))
                more = cursor.next()
        return found

    def record(self, entry: Entry) -> bytes:
        """The record of a ready ``entry``.

        Raises ``KeyError`` when the entry is not in the store any more.
        """
        value: bytes | None
        if entry.body:
            value = self._get(_body_key(entry.body), None, self._hay.db_body)
        else:
            value = self._get(_prefix(READY, entry.queue) + entry.order)
            value = value[HEAD_SIZE:] if value is not None else None
        if value is None:
            raise KeyError(entry)
        return value

    # -- sessions -----------------------------------------------------------------------------

    def session(self, session: int) -> bytes | None:
        """The row of ``session``."""
        value: bytes | None = self._get(_prefix(SESSION, session))
        return value

    def sessions(self) -> list[tuple[int, bytes]]:
        """All session rows, by id."""
        found: list[tuple[int, bytes]] = []
        with self._txn.cursor() as cursor:
            more = cursor.set_range(b"\x10")
            while more:
                key, value = cursor.item()
                if key[0] != SESSION:
                    break
                found.append((int.from_bytes(key[1:], "big"), value))
                more = cursor.next()
        return found

    def session_ids(self) -> list[int]:
        """Ids of all sessions."""
        found: list[int] = []
        with self._txn.cursor() as cursor:
            if cursor.set_range(b"\x10"):
                for key in cursor.iternext(True, False):
                    if key[0] != SESSION:
                        break
                    found.append(int.from_bytes(key[1:], "big"))
        return found

    def taken(self, session: int, most: int | None = None) -> list[tuple[int, Entry]]:
        """What ``session`` holds, or the first ``most`` of it: (tag, entry), by tag."""
        prefix = _prefix(HELD, session)
        found: list[tuple[int, Entry]] = []
        with self._txn.cursor() as cursor:
            more = cursor.set_range(prefix)
            while more:
                key, value = cursor.item()
                if key[:5] != prefix or len(found) == most:
                    break
                found.append((int.from_bytes(key[5:], "big"), held_entry(value)))
                more = cursor.next()
        return found

    def held(self, session: int, tag: int) -> tuple[Entry, bytes] | None:
        """The entry that ``session`` holds under ``tag``, and its record."""
        value = self._get(TAG.pack(HELD, session, tag))
        if value is None:
            return None
        entry = held_entry(value)
        if entry.body:
            return entry, self._get(_body_key(entry.body), None, self._hay.db_body)
        return entry, value[HELD_HEAD + HEAD_SIZE :]

    # -- for the store's own modules ----------------------------------------------------------

    def tree_stat(self, tree: Any) -> dict[str, int]:
        """LMDB's page counts of one of the named trees."""
        stat: dict[str, int] = self._txn.stat(tree)
        return stat

    def get_internal(self, key: bytes) -> bytes | None:
        """One of the store's own rows."""
        value: bytes | None = self._get(key)
        return value

    @property
    def number(self) -> int:
        """LMDB's number of the transaction whose outcome this shows."""
        return int(self._txn.id())

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The store's own rows whose key starts with ``prefix``."""
        with self._txn.cursor() as cursor:
            more = cursor.set_range(prefix)
            while more:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                more = cursor.next()

    def first_internal(self, first: bytes, last: bytes = b"") -> bytes | None:
        """Key of the first of the store's own rows from ``first`` to ``last``; without ``last``, that starts so."""
        with self._txn.cursor() as cursor:
            if cursor.set_range(first):
                key: bytes = cursor.key()
                if key <= last or (not last and key.startswith(first)):
                    return key
        return None

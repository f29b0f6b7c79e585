"""Transactions: everything that changes in a vhost's store changes here.

Owns: the write transaction, the counts, the change log, the ids.
Must not know: files, locks' kinds, processes (``store``); what rows and records mean (the broker).

Body ids come from LMDB's transaction id, which never repeats and always grows: no counter is kept,
and bodies are always appended.

Invariants: a queue's count row is right at every commit, and gone when the queue is empty. The
version in the gate page moves right after the commit; UNSETTLED is set around it, so that the
next writer repairs what a writer killed in between left behind. An exception at any instant,
KeyboardInterrupt included, leaves neither lock nor transaction behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import lmdb

from haypile.hay.errors import NestedTransaction
from haypile.hay.gates import UNSETTLED, VERSION
from haypile.hay.layout import (
    BODY,
    COUNT,
    HEAD,
    HEAD_SIZE,
    HELD,
    HELD_HEAD,
    ID_ROW,
    INLINE,
    INLINE_LARGE,
    INLINE_MAX,
    INLINE_SMALL,
    LOG_HEAD,
    LOG_KEY,
    MAX_ROW_KEY,
    OWN_BODY,
    PREFIX,
    READY,
    REFS,
    REFS_KEY,
    SESSION,
    SHARED_BODY,
    TAG,
    VERSION_ROW,
    Entry,
    entry_of,
    held_entry,
)
from haypile.hay.reading import ReadTxn

if TYPE_CHECKING:
    from haypile.hay.store import Hay

__all__ = ["Entry", "ReadTxn", "WriteTxn"]

#: Kept entries of the change log, and how often (in versions) it is trimmed.
LOG_KEPT = 20_000
LOG_TRIM = 64

_prefix = PREFIX.pack
_tag_key = TAG.pack
_body_key = BODY.pack
_pack_head = HEAD.pack
_unpack_head = HEAD.unpack_from
_pack_count = COUNT.pack
_unpack_count = COUNT.unpack


class WriteTxn(ReadTxn):
    """The one write transaction of a vhost. From ``Hay.write()``; use it as a context manager.

    Leaving the block commits; leaving it by an exception rolls all of it back. The end of the
    block raises ``OutOfRoom`` when there was no memory or disk space for any of it.
    """

    __slots__ = ("_body_id", "_deltas", "_put", "_version", "on_commit")

    #: Called after the commit, still under the write lock, in order.
    on_commit: list[Callable[[], None]]
    _put: Any

    def __init__(self, hay: Hay) -> None:
        super().__init__(hay)
        self.on_commit = []
        self._deltas: dict[int, list[int]] = {}
        self._version = 0
        self._body_id = 0

    def __enter__(self) -> WriteTxn:
        hay = self._hay
        lock = hay.lock
        try:
            lock.acquire()
            if self._txn is not None:
                lock.release()
                raise NestedTransaction("a write transaction of this thread is open already")
            hay.lock_file()
            begin = hay.begin or hay.reopen()
            try:
                self._txn = txn = begin(None, None, True)
            except lmdb.Error as error:
                self._txn = txn = hay.begin_anew(error, write=True)
            self._get = txn.get
            self._put = txn.put
            if hay.gates.words[UNSETTLED]:
                self._settle()
        except NestedTransaction:
            raise
        except BaseException:
            self._unwind()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        txn = self._txn
        try:
            if kind is not None:
                txn.abort()
                if isinstance(error, lmdb.Error):
                    self._hay.refuse(error)
                return
            if self._deltas:
                self._write_counts()
            if self._version or self.on_commit:
                self._commit_with_news(txn)
            else:
                txn.commit()
        except BaseException as failure:
            txn.abort()
            if kind is None and isinstance(failure, lmdb.Error):
                self._hay.refuse(failure)
            raise
        finally:
            self._forget()

    def _forget(self) -> None:
        """The end of a transaction, however it went."""
        hay = self._hay
        try:
            self._txn = self._get = self._put = None
            if self._deltas:
                self._deltas.clear()
            self._version = self._body_id = 0
            if self.on_commit:
                self.on_commit = []
            hay.unlock_file()
        finally:
            hay.lock.release()

    def _unwind(self) -> None:
        """Undo what ``__enter__`` had done when an exception fell into it."""
        if self._hay.lock._is_owned():
            if self._txn is not None:
                self._txn.abort()
            self._forget()

    def _settle(self) -> None:
        """A writer died between its commit and the gate page: catch up."""
        words = self._hay.gates.words
        words[VERSION] = self.version
        words[UNSETTLED] = 0

    def _commit_with_news(self, txn: Any) -> None:
        words = self._hay.gates.words
        if self._version:
            self._put(VERSION_ROW, _body_key(self._version))
            words[UNSETTLED] = 1
        try:
            txn.commit()
        except lmdb.Error:
            words[UNSETTLED] = 0
            raise
        except BaseException:
            # A signal handler raised; before or after the commit?
            if _is_live(txn):
                raise
            self._tell(words)
            raise
        self._tell(words)

    def _tell(self, words: memoryview) -> None:
        if self._version:
            words[VERSION] = self._version
            words[UNSETTLED] = 0
        for call in self.on_commit:
            call()

    def _write_counts(self) -> None:
        get, put = self._get, self._put
        for queue, (number, size) in self._deltas.items():
            if not number and not size:
                continue
            key = _prefix(READY, queue)
            row = get(key)
            if row is not None:
                before, size_before = _unpack_count(row)
                number += before
                size += size_before
            if number:
                put(key, _pack_count(number, size))
            else:
                self._txn.delete(key)

    def _add(self, queue: int, number: int, size: int) -> None:
        delta = self._deltas.get(queue)
        if delta is None:
            self._deltas[queue] = [number, size]
        else:
            delta[0] += number
            delta[1] += size

    # -- topology rows ------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Topology version, with the changes of this transaction."""
        return self._version or int.from_bytes(self._get(VERSION_ROW) or b"", "big")

    def put_row(self, key: bytes, value: bytes) -> None:
        """Set a topology row.

        Raises ``ValueError`` for a key that is empty or longer than ``layout.MAX_ROW_KEY`` bytes.
        """
        if not 0 < len(key) <= MAX_ROW_KEY:
            raise ValueError(f"a row key has 1 to {MAX_ROW_KEY} bytes, not {len(key)}")
        self._put(key, value, True, True, False, self._hay.db_rows)
        self._log(key, b"".join((LOG_HEAD.pack(True, len(key)), key, value)))

    def delete_row(self, key: bytes) -> None:
        """Delete a topology row; nothing happens when there is none."""
        if self._txn.delete(key, b"", self._hay.db_rows):
            self._log(key, LOG_HEAD.pack(False, len(key)) + key)

    def _log(self, key: bytes, change: bytes) -> None:
        self._version = version = self.version + 1
        log = self._hay.db_log
        self._put(LOG_KEY.pack(version), change, True, True, True, log)
        if version % LOG_TRIM == 0 and version > LOG_KEPT:
            with self._txn.cursor(log) as cursor:
                oldest = LOG_KEY.pack(version - LOG_KEPT)
                while cursor.first() and cursor.key() < oldest:
                    cursor.delete()

    def next_id(self, kind: str) -> int:
        """The next number of ``kind``: 1, 2, 3 …, u32, never given twice."""
        key = ID_ROW + kind.encode()
        number = int.from_bytes(self._get(key) or b"", "big") + 1
        self._put(key, number.to_bytes(4, "big"))
        return number

    # -- messages -----------------------------------------------------------------------------

    def count(self, queue: int) -> tuple[int, int]:
        """Ready messages of ``queue`` and the bytes of their records, with this transaction's."""
        number, size = ReadTxn.count(self, queue)
        delta = self._deltas.get(queue)
        return (number + delta[0], size + delta[1]) if delta is not None else (number, size)

    def put(
        self,
        queue: int,
        order: bytes,
        record: bytes,
        *,
        flags: int = 0,
        deliveries: int = 0,
        expires: int = 0,
        weight: int = -1,
    ) -> None:
        """Put a message into the ready part of ``queue``; one with the same order is replaced.

        ``order``: see ``Entry.order``. ``flags``: u8, the caller's. ``expires``: ns of
        ``Hay.now()``, 0: never. ``weight``: bytes it counts for (``Entry.size``), if not all of them.
        """
        size = len(record) if weight < 0 else weight
        key = _prefix(READY, queue) + order
        value = self._value(record, flags, deliveries, expires, size)
        if not self._put(key, value, True, False):
            self.remove(queue, order)
            self._put(key, value)
        delta = self._deltas.get(queue)
        if delta is None:
            self._deltas[queue] = [1, size]
        else:
            delta[0] += 1
            delta[1] += size

    def _value(self, record: bytes, flags: int, deliveries: int, expires: int, weight: int) -> bytes:
        size = len(record)
        if size <= INLINE_SMALL or INLINE_LARGE <= size <= INLINE_MAX:
            return _pack_head(INLINE, flags, deliveries, expires, weight, 0) + record
        return _pack_head(OWN_BODY, flags, deliveries, expires, weight, self._new_body(record))

    def put_shared(self, targets: Sequence[tuple[int, bytes, int]], record: bytes, *, flags: int = 0) -> None:
        """Put one message into several queues: ``targets`` are (queue, order, expires)."""
        size = len(record)
        if size <= INLINE_SMALL or len(targets) < 2:
            for queue, order, expires in targets:
                self.put(queue, order, record, flags=flags, expires=expires)
            return
        body = self._new_body(record)
        self._put(REFS_KEY.pack(REFS, body), len(targets).to_bytes(4, "big"))
        for queue, order, expires in targets:
            key = _prefix(READY, queue) + order
            value = _pack_head(SHARED_BODY, flags, 0, expires, size, body)
            if not self._put(key, value, True, False):
                self.remove(queue, order)
                self._put(key, value)
            self._add(queue, 1, size)

    def _new_body(self, record: bytes) -> int:
        body = self._body_id
        if not body:
            body = self._txn.id() << 24
        self._body_id = body + 1
        self._put(_body_key(body), record, True, True, True, self._hay.db_body)
        return body

    def _drop_body(self, kind: int, body: int) -> None:
        if kind == SHARED_BODY:
            key = REFS_KEY.pack(REFS, body)
            left = int.from_bytes(self._get(key) or b"", "big") - 1
            if left > 0:
                self._put(key, left.to_bytes(4, "big"))
                return
            self._txn.delete(key)
        self._txn.delete(_body_key(body), b"", self._hay.db_body)

    def take(self, queue: int, limit: int) -> list[tuple[Entry, bytes]]:
        """Remove up to ``limit`` messages from the head of ``queue``, for good."""
        taken: list[tuple[Entry, bytes]] = []
        for key, value in self._pop_heads(queue, limit):
            kind = value[0]
            entry = entry_of(queue, key[5:], value)
            if kind == INLINE:
                record = value[HEAD_SIZE:]
            else:
                record = self._get(_body_key(entry.body), None, self._hay.db_body)
                self._drop_body(kind, entry.body)
            taken.append((entry, record))
        return taken

    def hold(self, queue: int, limit: int, session: int, first_tag: int) -> list[tuple[Entry, bytes]]:
        """Move up to ``limit`` messages from the head of ``queue`` to what ``session`` holds.

        They are held under the tags ``first_tag``, ``first_tag`` + 1 … (u64).
        """
        held: list[tuple[Entry, bytes]] = []
        put, tag = self._put, first_tag
        for key, value in self._pop_heads(queue, limit):
            entry = entry_of(queue, key[5:], value)
            put(_tag_key(HELD, session, tag), key[1:] + value)
            tag += 1
            if value[0] == INLINE:
                record = value[HEAD_SIZE:]
            else:
                record = self._get(_body_key(entry.body), None, self._hay.db_body)
            held.append((entry, record))
        return held

    def _pop_heads(self, queue: int, limit: int) -> list[tuple[bytes, bytes]]:
        """Keys and values of the first ready entries of ``queue``, now removed."""
        prefix = _prefix(READY, queue)
        popped: list[tuple[bytes, bytes]] = []
        size = 0
        with self._txn.cursor() as cursor:
            item, delete = cursor.item, cursor.delete
            if not cursor.set_range(prefix + b"\x00"):
                return popped
            while len(popped) < limit:
                found = item()
                if found[0][:5] != prefix:
                    break
                popped.append(found)
                size += _unpack_head(found[1])[4]
                delete()
        if popped:
            self._add(queue, -len(popped), -size)
        return popped

    def drop(self, session: int, tags: Iterable[int]) -> None:
        """Delete for good what ``session`` holds under ``tags``; unknown tags are passed over."""
        pop = self._txn.pop
        for tag in tags:
            value = pop(_tag_key(HELD, session, tag))
            if value is not None and value[HELD_HEAD]:
                self._drop_body(value[HELD_HEAD], _unpack_head(value, HELD_HEAD)[5])

    def restore(
        self, session: int, tag: int, *, flags: int | None = None, deliveries: int | None = None
    ) -> Entry:
        """Put what ``session`` holds under ``tag`` back to its place in its queue.

        Raises ``KeyError`` when it holds nothing under that tag.
        """
        value = self._txn.pop(_tag_key(HELD, session, tag))
        if value is None:
            raise KeyError(tag)
        entry = held_entry(value)
        if flags is not None or deliveries is not None:
            entry = entry._replace(
                flags=entry.flags if flags is None else flags,
                deliveries=entry.deliveries if deliveries is None else deliveries,
            )
        ready = _pack_head(value[HELD_HEAD], *entry[2:]) + value[HELD_HEAD + HEAD_SIZE :]
        key = _prefix(READY, entry.queue) + entry.order
        if not self._put(key, ready, True, False):
            self.remove(entry.queue, entry.order)
            self._put(key, ready)
        self._add(entry.queue, 1, entry.size)
        return entry

    def remove(self, queue: int, order: bytes) -> tuple[Entry, bytes] | None:
        """Remove one ready message, for good; None when it is not there."""
        value = self._txn.pop(_prefix(READY, queue) + order)
        if value is None:
            return None
        entry = entry_of(queue, order, value)
        self._add(queue, -1, -entry.size)
        if value[0] == INLINE:
            return entry, value[HEAD_SIZE:]
        record = self._get(_body_key(entry.body), None, self._hay.db_body)
        self._drop_body(value[0], entry.body)
        return entry, record

    def purge(self, queue: int) -> int:
        """Delete all ready messages of ``queue``; how many there were."""
        number, _ = self.count(queue)
        prefix = _prefix(READY, queue)
        freed = 0
        with self._txn.cursor() as cursor:
            more = cursor.set_range(prefix + b"\x00")
            while more:
                key, value = cursor.item()
                if key[:5] != prefix:
                    break
                _, _, _, _, size, body = _unpack_head(value)
                freed += size
                more = cursor.delete() and cursor.key()
                if body:
                    self._drop_body(value[0], body)
        self._add(queue, -number, -freed)
        return number

    # -- sessions -----------------------------------------------------------------------------

    def keep(
        self,
        session: int,
        tag: int,
        queue: int,
        order: bytes,
        record: bytes,
        *,
        flags: int = 0,
        deliveries: int = 0,
        expires: int = 0,
        weight: int = -1,
    ) -> None:
        """Put a message straight into what ``session`` holds, under ``tag``; see ``put``."""
        value = self._value(record, flags, deliveries, expires, len(record) if weight < 0 else weight)
        self._put(_tag_key(HELD, session, tag), queue.to_bytes(4, "big") + order + value)

    def put_session(self, session: int, value: bytes) -> None:
        """Set the row of ``session``."""
        self._put(_prefix(SESSION, session), value)

    def delete_session(self, session: int) -> None:
        """Delete the row of ``session``; what it holds is not touched."""
        self._txn.delete(_prefix(SESSION, session))

    # -- for the store's own modules ----------------------------------------------------------

    def put_internal(self, key: bytes, value: bytes) -> None:
        """Set one of the store's own rows."""
        self._put(key, value)

    def delete_internal(self, key: bytes) -> None:
        """Delete one of the store's own rows."""
        self._txn.delete(key)


def _is_live(txn: Any) -> bool:
    try:
        txn.id()
    except lmdb.Error:
        return False
    return True

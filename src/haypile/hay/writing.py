"""The life of a write transaction, and the rows it changes.

Owns: begin, commit and roll-back, with the locks and the gate page around them; the counts of queues;
topology rows and their change log; ids.
Must not know: messages (``txn``), files, locks' kinds, processes (``store``).

Invariants: a queue's count row is right at every commit, and gone when the queue is empty. The
version in the gate page moves right after the commit; UNSETTLED is set around it, so that the
next writer repairs what a writer killed in between left behind. An exception at any instant,
KeyboardInterrupt included, leaves neither lock nor transaction behind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb

from haypile.hay.errors import Busy, Damaged, HayError, NestedTransaction
from haypile.hay.gates import UNSETTLED, VERSION
from haypile.hay.haste import take_at_once
from haypile.hay.layout import (
    COUNT,
    ID_ROW,
    LOG_HEAD,
    LOG_KEY,
    MAX_ROW_KEY,
    PREFIX,
    READY,
    VERSION_ROW,
)
from haypile.hay.locking import TAKEN, take
from haypile.hay.reading import ReadTxn

if TYPE_CHECKING:
    from haypile.hay.store import Hay

#: Kept entries of the change log, and how often (in versions) it is trimmed.
LOG_KEPT = 20_000
LOG_TRIM = 64

_Self = TypeVar("_Self", bound="Writing")

_prefix = PREFIX.pack
_pack_count = COUNT.pack
_unpack_count = COUNT.unpack


class Writing(ReadTxn):
    """What every write transaction does. Users see ``txn.WriteTxn``.

    Leaving the block commits; leaving it by an exception rolls all of it back. The end of the
    block raises ``OutOfRoom`` when there was no memory or disk space for any of it.
    """

    __slots__ = ("_body_id", "_deltas", "_put", "_version", "gather", "noted", "on_commit", "patient", "released")

    #: Called after the commit, still under the write lock, in order.
    on_commit: list[Callable[[], None]]
    _put: Any

    def __init__(self, hay: Hay) -> None:
        super().__init__(hay)
        self.on_commit = []
        self._deltas: dict[int, list[int]] = {}
        self._version = 0
        self._body_id = 0
        #: Seconds for which a file lock that is taken is left alone (``locking.take``).
        self.gather = 0.0
        #: Whoever asked for it can wait until there is room: what is kept back is not for it. Said inside the block.
        self.patient = False
        #: Its number, if it leaves something for the journal, else 0 (``pending``).
        self.noted = 0
        #: Sessions that wait for a message which this transaction makes safe by its end.
        self.released: set[int] = set()

    def __enter__(self: _Self) -> _Self:
        hay = self._hay
        lock = hay.lock
        try:
            if hay.hasty:
                take_at_once(hay)
            else:
                lock.acquire()
            if self._txn is not None:
                lock.release()
                raise NestedTransaction("a write transaction of this thread is open already")
            try:
                hay.lock_at_once()
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
                take(hay, self.gather)
            self._version = self._body_id = self.noted = 0
            self.patient = False
            if self._deltas:
                self._deltas = {}
            if self.released:
                self.released = set()
            if self.on_commit:
                self.on_commit = []
            begin = hay.begin or hay.reopen()
            try:
                self._txn = txn = begin(None, None, True)
            except lmdb.Error as error:
                self._txn = txn = hay.begin_anew(error, write=True)
            self._get = txn.get
            self._put = txn.put
            if hay.gates.words[UNSETTLED]:
                self._settle()
        except (NestedTransaction, Busy):
            raise
        except BaseException:
            hay.let_go()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # No Python function is called on the way out, for a signal handler's exception could fall
        # into its first instruction. (It can fall into ours: Hay.let_go is for that.)
        txn = self._txn
        hay = self._hay
        if txn is None:
            if kind is None:
                raise HayError("this transaction was rolled back before its end")
            return
        try:
            if kind is not None:
                txn.abort()
            else:
                if self._deltas:
                    self._write_counts()
                if self._version or self.on_commit:
                    self._commit_with_news(txn)
                else:
                    txn.commit()
        except BaseException as failure:
            txn.abort()
            error = failure
            raise
        finally:
            self._txn = None
            try:
                if isinstance(error, lmdb.Error):
                    hay.refuse(error)
                elif isinstance(error, struct.error):
                    raise Damaged(f"the store in {hay.directory} holds what haypile did not write ({error})") from error
            finally:
                # An exception's traceback holds this frame.
                del error
                try:
                    hay.unlock_file()
                finally:
                    hay.lock.release()

    def abandon(self) -> None:
        """Roll back and let go of nothing else: for ``Hay.let_go``."""
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()

    def _settle(self) -> None:
        """A writer died between its commit and the gate page: catch up."""
        words = self._hay.gates.words
        words[VERSION] = self.version
        words[UNSETTLED] = 0

    def _commit_with_news(self, txn: Any) -> None:
        words = self._hay.gates.words
        if self._version:
            self._put(VERSION_ROW, LOG_KEY.pack(self._version))
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
    def shows_page(self) -> bool:
        """Whether the gate page has the version of the rows seen here: under the write lock, until they are changed."""
        return not self._version

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

    def raise_id(self, kind: str, number: int) -> None:
        """Have ``next_id`` give no number up to ``number`` any more."""
        key = ID_ROW + kind.encode()
        if number > int.from_bytes(self._get(key) or b"", "big"):
            self._put(key, number.to_bytes(4, "big"))

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

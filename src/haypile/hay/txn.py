"""Transactions: what changes in a vhost's queues changes here.

Owns: ready, held and shared messages, and the rows of sessions.
Must not know: files, locks, processes (``store``); what records mean (the broker).

Body ids come from LMDB's transaction id, which never repeats and always grows: no counter is kept,
and bodies are always appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from haypile.hay.layout import (
    BODY,
    HEAD,
    HEAD_SIZE,
    HELD,
    HELD_HEAD,
    INLINE,
    INLINE_MOST,
    JOURNALED,
    NOTED,
    OWN_BODY,
    OWN_FLAGS,
    PREFIX,
    READY,
    REFS,
    REFS_KEY,
    SESSION,
    SHARED_BODY,
    TAG,
    Entry,
    entry_of,
    held_entry,
)
from haypile.hay.pending import AGAIN, AWAITED, PUT, Noting
from haypile.hay.reading import ReadTxn

__all__ = ["Entry", "ReadTxn", "WriteTxn"]

#: More bytes than there are.
UNLIMITED = 1 << 62
#: After the rest of every key.
_LAST = b"\xff" * 512

_prefix = PREFIX.pack
_tag_key = TAG.pack
_body_key = BODY.pack
_pack_head = HEAD.pack
_unpack_head = HEAD.unpack_from
_new_entry = tuple.__new__


class WriteTxn(Noting):
    """The one write transaction of a vhost. From ``Hay.write()``; use it as a context manager.

    Leaving the block commits; leaving it by an exception rolls all of it back. The end of the
    block raises ``OutOfRoom`` when there was no memory or disk space for any of it.
    """

    __slots__ = ()

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
        awaited: bool = False,
    ) -> None:
        """Put a message into the ready part of ``queue``; one with the same order is replaced.

        ``order``: see ``Entry.order``. ``flags``: u8, the caller's, with JOURNALED for a message that
        the journal is to keep. ``expires``: ns of ``Hay.now()``, 0: never. ``weight``: bytes it counts
        for (``Entry.size``), if not all of them. ``awaited``: the session named in ``order`` is to be
        in ``released`` of the transaction that makes it needless to journal the message.
        """
        size = len(record) if weight < 0 else weight
        value = self._value(record, flags, deliveries, expires, size)
        self._enter(_prefix(READY, queue) + order, value, flags, PUT | AWAITED if awaited else PUT)
        delta = self._deltas.get(queue)
        if delta is None:
            self._deltas[queue] = [1, size]
        else:
            delta[0] += 1
            delta[1] += size

    def put_run(self, queue: int, rows: Sequence[tuple[bytes, bytes, int]], *, awaited: bool = False) -> None:
        """``put`` for each of ``rows``: order, record, flags; their orders ascend."""
        prefix, op, size = _prefix(READY, queue), PUT | AWAITED if awaited else PUT, 0
        entries: list[tuple[bytes, bytes]] = []
        noted: list[tuple[bytes, bytes]] = []
        for order, record, flags in rows:
            entries.append(entry := (prefix + order, self._value(record, flags, 0, 0, len(record))))
            if flags & JOURNALED:
                noted.append(entry)
            size += len(record)
        with self._txn.cursor() as cursor:
            last = bool(entries) and (not cursor.set_range(entries[0][0]) or cursor.key()[:5] != prefix)
            if last:
                # All come behind what is there, so they replace nothing: a third less than one by one.
                cursor.putmulti(entries)
        if last:
            self.note_puts(noted, op)
        else:
            for (key, value), (_, _, flags) in zip(entries, rows, strict=True):
                self._enter(key, value, flags, op)
        self._add(queue, len(rows), size)

    def _enter(self, key: bytes, value: bytes, flags: int, op: int) -> None:
        """One entry of a queue, in place of what is there, and into the journal (as ``op``) where it belongs there."""
        if not self._put(key, value, True, False):
            self.remove(int.from_bytes(key[1:5], "big"), key[5:])
            self._put(key, value)
            op = AGAIN
        if flags & JOURNALED:
            self.note_put(key[1:], value, op)

    def _value(self, record: bytes, flags: int, deliveries: int, expires: int, weight: int) -> bytes:
        size = len(record)
        if size <= INLINE_MOST:
            return _pack_head(INLINE, flags, deliveries, expires, weight, 0) + record
        return _pack_head(OWN_BODY, flags, deliveries, expires, weight, self._new_body(record))

    def put_shared(
        self,
        targets: Sequence[tuple[int, bytes, int]],
        record: bytes,
        *,
        flags: int = 0,
        weight: int = -1,
        awaited: bool = False,
    ) -> None:
        """Put one message into several queues: ``targets`` are (queue, order, expires); see ``put``."""
        if len(record) <= INLINE_MOST or len(targets) < 2:
            for queue, order, expires in targets:
                self.put(queue, order, record, flags=flags, expires=expires, weight=weight, awaited=awaited)
            return
        size = len(record) if weight < 0 else weight
        body = self._new_body(record)
        self._put(REFS_KEY.pack(REFS, body), len(targets).to_bytes(4, "big"))
        op = PUT | AWAITED if awaited else PUT
        for queue, order, expires in targets:
            value = _pack_head(SHARED_BODY, flags, 0, expires, size, body)
            self._enter(_prefix(READY, queue) + order, value, flags, op)
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

    def take(self, queue: int, limit: int, most: int = UNLIMITED) -> list[tuple[Entry, bytes]]:
        """Remove up to ``limit`` messages from the head of ``queue``: none behind the first ``most`` bytes."""
        return [
            (entry_of(queue, key[5:], value), record) for key, value, record in self.take_rows(queue, limit, most)
        ]

    def take_rows(self, queue: int, limit: int, most: int = UNLIMITED) -> list[tuple[bytes, bytes, bytes]]:
        """The same: keys, values (``entry_of``) and records."""
        taken: list[tuple[bytes, bytes, bytes]] = []
        heads = self._pop_heads(queue, limit, most)
        self.note_all_gone([key[1:] for key, value in heads if value[1] & JOURNALED])
        for key, value in heads:
            if value[0] == INLINE:
                record = value[HEAD_SIZE:]
            else:
                body = _unpack_head(value)[5]
                record = self._get(_body_key(body), None, self._hay.db_body) or b""
                self._drop_body(value[0], body)
            taken.append((key, value, record))
        return taken

    def take_records(self, queue: int, limit: int, most: int = UNLIMITED) -> list[bytes]:
        """The records of the first messages, as ``take`` has them, up to one with a flag of the caller's."""
        taken: list[bytes] = []
        #: What else there is to be done, when the cursor is not needed any more.
        later: list[tuple[bytes, int, int, int]] = []
        prefix, size, bodies = _prefix(READY, queue), 0, None
        end = prefix + _LAST
        with self._txn.cursor() as cursor:
            item, delete = cursor.item, cursor.delete
            cursor.set_range(prefix + b"\x00")
            while len(taken) < limit and size < most:
                key, value = item()
                if not key or key > end:
                    break
                kind, flags, _, _, weight, body = _unpack_head(value)
                if flags & ~JOURNALED:
                    break
                if kind == INLINE:
                    record = value[HEAD_SIZE:]
                elif kind == OWN_BODY:
                    # Fetched and deleted by one descent.
                    if bodies is None:
                        bodies = self._txn.cursor(self._hay.db_body)
                    record = bodies.pop(_body_key(body)) or b""
                else:
                    record = self._get(_body_key(body), None, self._hay.db_body) or b""
                if flags or kind == SHARED_BODY:
                    later.append((key, flags, kind, body))
                delete()
                taken.append(record)
                size += weight
        if bodies is not None:
            bodies.close()
        if later:
            self.note_all_gone([key[1:] for key, flags, _, _ in later if flags])
            for _, _, kind, body in later:
                if kind == SHARED_BODY:
                    self._drop_body(kind, body)
        if taken:
            self._add(queue, -len(taken), -size)
        return taken

    def hold(
        self, queue: int, limit: int, session: int, first_tag: int, most: int = UNLIMITED
    ) -> list[tuple[Entry, bytes]]:
        """Move messages from the head of ``queue`` to what ``session`` holds; ``limit``, ``most``: see ``take``.

        They are held under the tags ``first_tag``, ``first_tag`` + 1 … (u64).
        """
        held: list[tuple[Entry, bytes]] = []
        put, tag = self._put, first_tag
        for key, value in self._pop_heads(queue, limit, most):
            entry = entry_of(queue, key[5:], value)
            if value[1] & OWN_FLAGS == JOURNALED:
                value = bytes((value[0], value[1] | NOTED)) + value[2:]
                self.note_held(key[1:], entry.deliveries)
            put(_tag_key(HELD, session, tag), key[1:] + value)
            tag += 1
            if value[0] == INLINE:
                record = value[HEAD_SIZE:]
            else:
                record = self._get(_body_key(entry.body), None, self._hay.db_body) or b""
            held.append((entry, record))
        return held

    def _pop_heads(self, queue: int, limit: int, most: int) -> list[tuple[bytes, bytes]]:
        """Keys and values of the first ready entries of ``queue``, now removed; see ``take``."""
        prefix = _prefix(READY, queue)
        popped: list[tuple[bytes, bytes]] = []
        size = 0
        with self._txn.cursor() as cursor:
            item, delete = cursor.item, cursor.delete
            if not cursor.set_range(prefix + b"\x00"):
                return popped
            while len(popped) < limit and size < most:
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
        values = [value for tag in tags if (value := pop(_tag_key(HELD, session, tag))) is not None]
        self.note_all_gone([value[:HELD_HEAD] for value in values if value[HELD_HEAD + 1] & JOURNALED])
        for value in values:
            if value[HELD_HEAD]:
                self._drop_body(value[HELD_HEAD], _unpack_head(value, HELD_HEAD)[5])

    def restore(self, session: int, tag: int, *, flags: int | None = None, deliveries: int | None = None) -> Entry:
        """Put what ``session`` holds under ``tag`` back to its place in its queue.

        Raises ``KeyError`` when it holds nothing under that tag.
        """
        value = self._txn.pop(_tag_key(HELD, session, tag))
        if value is None:
            raise KeyError(tag)
        entry = held_entry(value)
        if flags is not None or deliveries is not None:
            own = entry.flags & OWN_FLAGS
            if own and deliveries is not None and deliveries != entry.deliveries:
                self.note_held(value[:HELD_HEAD], deliveries)
            entry = entry._replace(
                flags=entry.flags if flags is None else flags | own,
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
        if entry.flags & JOURNALED:
            self.note_gone(_prefix(READY, queue)[1:] + order)
        if value[0] == INLINE:
            return entry, value[HEAD_SIZE:]
        record = self._get(_body_key(entry.body), None, self._hay.db_body) or b""
        self._drop_body(value[0], entry.body)
        return entry, record

    def purge(self, queue: int, most: int | None = None) -> int:
        """Delete all ready messages of ``queue``, or the first ``most``; how many there were."""
        prefix = _prefix(READY, queue)
        number = freed = 0
        journaled: list[bytes] = []
        with self._txn.cursor() as cursor:
            more = cursor.set_range(prefix + b"\x00")
            while more:
                key, value = cursor.item()
                if key[:5] != prefix or number == most:
                    break
                _, flags, _, _, size, body = _unpack_head(value)
                number += 1
                freed += size
                if flags & JOURNALED:
                    journaled.append(key[1:])
                more = cursor.delete() and cursor.key()
                if body:
                    self._drop_body(value[0], body)
        if number == most:
            self.note_all_gone(journaled)
        elif journaled:
            self.note_purge(queue, journaled)
        self._add(queue, -number, -freed)
        return number

    def expire(self, queue: int, now: int, limit: int) -> int:
        """Delete up to ``limit`` messages from the head of ``queue`` whose time was over at ``now``; how many."""
        prefix = _prefix(READY, queue)
        count = freed = 0
        with self._txn.cursor() as cursor:
            item, delete = cursor.item, cursor.delete
            more = cursor.set_range(prefix + b"\x00")
            while more and count < limit:
                key, value = item()
                if key[:5] != prefix:
                    # Another queue's, or the end of the store, where there is nothing to unpack.
                    break
                kind, flags, _, expires, size, body = _unpack_head(value)
                if not expires or expires > now:
                    break
                count += 1
                freed += size
                if flags & JOURNALED:
                    self.note_gone(key[1:])
                more = delete()
                if body:
                    self._drop_body(kind, body)
        if count:
            self._add(queue, -count, -freed)
        return count

    # -- sessions -----------------------------------------------------------------------------

    def keep(
        self, session: int, tag: int, queue: int, order: bytes, record: bytes, *,
        flags: int = 0, deliveries: int = 0, expires: int = 0,
    ) -> None:
        """Put a message straight into what ``session`` holds, under ``tag``; see ``put``."""
        value, tail = self._value(record, flags, deliveries, expires, len(record)), queue.to_bytes(4, "big") + order
        self._put(_tag_key(HELD, session, tag), tail + value)
        if flags & JOURNALED:
            self.note_put(tail, value, PUT)

    def keep_run(self, session: int, first_tag: int, queue: int, rows: Sequence[tuple[bytes, bytes, int, int]]) -> None:
        """``keep`` for each of ``rows``: order, record, flags, expiry; under ``first_tag``, ``first_tag`` + 1 …"""
        if len(rows) == 1:
            self.keep(session, first_tag, queue, rows[0][0], rows[0][1], flags=rows[0][2], expires=rows[0][3])
            return
        prefix, held = _prefix(READY, queue), list[tuple[bytes, bytes]]()
        noted: list[tuple[bytes, bytes]] = []
        for tag, (order, record, flags, expires) in enumerate(rows, first_tag):
            key, value = prefix + order, self._value(record, flags, 0, expires, len(record))
            held.append((_tag_key(HELD, session, tag), key[1:] + value))
            if flags & JOURNALED:
                noted.append((key, value))
        with self._txn.cursor() as cursor:
            cursor.putmulti(held)
        self.note_puts(noted, PUT)

    def put_session(self, session: int, value: bytes) -> None:
        """Set the row of ``session``."""
        self._put(_prefix(SESSION, session), value)

    def delete_session(self, session: int) -> None:
        """Delete the row of ``session``; what it holds is not touched."""
        self._txn.delete(_prefix(SESSION, session))

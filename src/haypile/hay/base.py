"""The journal's base: an LMDB environment on disk, and the operations that bring it up to date.

Owns: the layout of the journal's keys, how operations are written down and carried out, what can be
read back from them.
Must not know: when (``journal``), what rows and records mean (the broker).

Keys, by first byte:

====  ==================  ===================================================================
00    name                the journal's own rows; the store's counters of ids
10    row key             a topology row
20    queue u32, order    a message: entry head (``layout``), record
30    queue u32, order    it was handed out: deliveries u32
====  ==================  ===================================================================

LMDB without its own locks: the journal's file lock is held around everything, reading included.
A commit is written, synced, and then made the current one by one write of less than a sector, synced
too; until then the pages of the one before are left alone. So a power cut shows one or the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import lmdb

from haypile.hay import holes
from haypile.hay.errors import Damaged, OutOfRoom, UnusableDirectory, explain
from haypile.hay.layout import HEAD, HEAD_SIZE, ID_ROW, INLINE, NOTED
from haypile.hay.places import AS_ABOVE, file_mode, make_new, make_private

#: Address space for the data, bytes; where the kernel gives less, halve down to the second.
MAP_SIZE, MAP_SIZE_LEAST = 1 << 38, 1 << 26

OWN, TOPOLOGY, MESSAGE, HELD = b"\x00", b"\x10", b"\x20", b"\x30"
#: The store whose journal this is (its nonce), and the epoch of the log that has come in here.
STORE_ROW, EPOCH_ROW = b"\x00s", b"\x00e"

#: Operations: set a key; delete it; delete a queue's messages but those in the value (their orders);
#: delete all.
SET, DELETE, KEEP, CLEAR = range(4)
Operation = tuple[int, bytes, bytes]

_OPERATION = Struct("<BHI")
_COUNT = Struct("<I")
_ORDER_SIZE = 13


class Kept(NamedTuple):
    """A message as the journal keeps it."""

    queue: int
    order: bytes
    deliveries: int
    expires: int
    weight: int
    #: Whether it was ever handed to a consumer.
    held: bool
    record: bytes


def put_message(tail: bytes, value: bytes, record: bytes) -> Operation:
    """Keep the message of queue and order ``tail``, whose entry's value in the store is ``value``."""
    _, flags, deliveries, expires, size, _ = HEAD.unpack_from(value)
    return SET, MESSAGE + tail, HEAD.pack(INLINE, flags, deliveries, expires, size, 0) + record


def drop_message(tail: bytes) -> Iterator[Operation]:
    """Forget a message."""
    yield DELETE, MESSAGE + tail, b""
    yield DELETE, HELD + tail, b""


def hold_message(tail: bytes, deliveries: int) -> Operation:
    """Note that the message was handed out."""
    return SET, HELD + tail, _COUNT.pack(deliveries)


def encode(operations: Iterable[Operation]) -> bytes:
    """``operations`` as bytes, for the log."""
    pieces: list[bytes] = []
    for op, key, value in operations:
        pieces += (_OPERATION.pack(op, len(key), len(value)), key, value)
    return b"".join(pieces)


def decode(payload: bytes) -> Iterator[Operation]:
    """The operations in ``payload``. Raises ``Damaged`` when there are others."""
    at = 0
    while at < len(payload):
        if at + _OPERATION.size > len(payload):
            raise Damaged("a batch of the journal ends within an operation")
        op, key_size, value_size = _OPERATION.unpack_from(payload, at)
        at += _OPERATION.size
        end = at + key_size
        if op > CLEAR or end + value_size > len(payload):
            raise Damaged("a batch of the journal has an operation that haypile did not write")
        yield op, payload[at:end], payload[end : end + value_size]
        at = end + value_size


class Base:
    """The open environment. All calls under the journal's lock."""

    def __init__(self, place: Path) -> None:
        """Open what is in ``place``. Raises ``UnusableDirectory``."""
        try:
            self._env = _open(place, create=False)
        except lmdb.Error as error:
            raise UnusableDirectory(f"cannot open the journal in {place}: {error}; move that directory away") from error
        self._all = self._env.open_db(None)
        self._path = place / "data.mdb"
        self._fd = os.open(self._path, os.O_PATH | os.O_CLOEXEC)

    @staticmethod
    def make(place: Path) -> None:
        """Make an empty one in the new directory ``place``, on disk when this returns."""
        make_new(place)
        env = _open(place, create=True)
        try:
            os.chmod(place / "data.mdb", file_mode(place))
            with env.begin(write=True) as txn:
                txn.put(EPOCH_ROW, _number(0))
        finally:
            env.close()
        sync_directory(place)

    def close(self) -> None:
        """Give everything back."""
        self._env.close()
        os.close(self._fd)

    @property
    def gone(self) -> bool:
        """Whether somebody removed the file."""
        return os.fstat(self._fd).st_nlink == 0

    @property
    def store(self) -> bytes | None:
        """Nonce of the store whose journal this is; None: of none yet."""
        with self._env.begin() as txn:
            value: bytes | None = txn.get(STORE_ROW)
        return value

    @property
    def epoch(self) -> int:
        """The epoch of the log that has come in last."""
        with self._env.begin() as txn:
            return int.from_bytes(txn.get(EPOCH_ROW) or b"", "big")

    def take_in(self, batches: Iterable[Iterable[Operation]], epoch: int, *, store: bytes | None = None) -> None:
        """Carry out all operations in one transaction, on disk when this returns.

        ``epoch`` of the log has come in with them; ``store``: whose journal it is from now on.
        """
        with self._env.begin(write=True) as txn:
            for batch in batches:
                self._carry_out(txn, batch)
            txn.put(EPOCH_ROW, _number(epoch))
            if store is not None:
                txn.put(STORE_ROW, store)

    def _carry_out(self, txn: Any, operations: Iterable[Operation]) -> None:
        """What remains of ``operations`` in the end: most messages came and went within them."""
        last: dict[bytes, bytes | None] = {}
        for op, key, value in operations:
            if op == SET:
                last[key] = value
            elif op == DELETE:
                last[key] = None
            elif op == KEEP:
                kept = {value[at : at + _ORDER_SIZE] for at in range(0, len(value), _ORDER_SIZE)}
                for prefix in (MESSAGE + key, HELD + key):
                    for known in last:
                        if known.startswith(prefix) and known[5:] not in kept:
                            last[known] = None
                    _keep_only(txn, prefix, kept)
            else:
                last.clear()
                txn.drop(self._all, delete=False)
        for key in sorted(last):
            new = last[key]
            if new is None:
                txn.delete(key)
            else:
                txn.put(key, new)

    def could_be_smaller(self, live: int) -> bool:
        """Whether its file takes much more room than ``live`` bytes of data would."""
        return holes.is_worth_while(self._fd, live)

    def give_back(self) -> int:
        """Give space back to the file system; how many bytes. Nobody reads meanwhile."""
        # What the last transaction freed is given back after the next one.
        self.take_in((), self.epoch)
        stat = self._env.stat()
        live = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        given = 0
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            file = holes.Holes(fd)
            while holes.is_worth_while(fd, live * stat["psize"]):
                part = file.give_back(live, self._env.info()["last_txnid"])
                if part <= 0:
                    break
                given += part
        finally:
            os.close(fd)
        return given

    def read(self) -> Contents:
        """All that it holds, for a ``with`` block."""
        return Contents(self._env)


class Contents:
    """What a journal holds."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __enter__(self) -> Contents:
        self._txn = self._env.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._txn.abort()

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor() as cursor:
            found = cursor.set_range(prefix)
            while found:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                found = cursor.next()

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Topology rows."""
        for key, value in self._scan(TOPOLOGY):
            yield key[1:], value

    def ids(self) -> Iterator[tuple[str, int]]:
        """The last number given out of each kind, as far as the journal knows."""
        for key, value in self._scan(ID_ROW):
            yield key[len(ID_ROW) :].decode(), int.from_bytes(value, "big")

    def messages(self) -> Iterator[Kept]:
        """Messages, by queue and order."""
        for key, value in self._scan(MESSAGE):
            _, flags, deliveries, expires, weight, _ = HEAD.unpack_from(value)
            held = self._txn.get(HELD + key[1:])
            if held is not None:
                deliveries = _COUNT.unpack(held)[0]
            yield Kept(
                int.from_bytes(key[1:5], "big"),
                key[5:],
                deliveries,
                expires,
                weight,
                held is not None or bool(flags & NOTED),
                value[HEAD_SIZE:],
            )


def _keep_only(txn: Any, prefix: bytes, kept: set[bytes]) -> None:
    with txn.cursor() as cursor:
        more = cursor.set_range(prefix)
        while more and cursor.key().startswith(prefix):
            # Deleting moves on to the next one.
            more = cursor.next() if cursor.key()[5:] in kept else cursor.delete() and cursor.key()


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _open(place: Path, *, create: bool) -> Any:
    size = MAP_SIZE
    while True:
        try:
            return lmdb.open(os.fspath(place), map_size=size, create=create, mode=0o600, lock=False, max_spare_txns=1)
        except (lmdb.MemoryError, MemoryError):
            if size <= MAP_SIZE_LEAST:
                raise
            size //= 2


def make_lasting(place: Path, base: Path | None, variable: str, group: int | None = None) -> None:
    """Make the private directory ``place``, its name and those above it on disk when this returns.

    ``base``, above it, must be ours alone, too: who owns a directory may put another one in its place.
    ``variable``, ``group`` (the base's): see ``make_private``. Raises ``UnusableDirectory``, ``OutOfRoom``.
    """
    above = place
    while not above.exists():
        above = above.parent
    for path in (base, place):
        if path is not None:
            make_private(path, variable, group if path == base else AS_ABOVE)
    try:
        for made in (place, *place.parents):
            sync_directory(made)
            if made == above:
                break
    except OSError as error:
        raise OutOfRoom(f"cannot open {place}: {explain(error, place)}") from error


def sync_directory(path: Path) -> None:
    """Have the names in ``path`` on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        # Some file systems have no such operation, and need none.
        pass
    finally:
        os.close(fd)

"""The landing: where records land when they leave a kernel queue, so that a crash cannot lose them.

Owns: a session's file of slots and its mapping, and the layout of a slot.
Must not know: what a record is, but for its length.

A record leaves the kernel when it is received; a consumer killed right after would lose it. So it is
received straight into a slot of a file that outlives the process, and stays there until it is
settled. Measured with SIGKILLs at random instants: no record lost in 88,000 kills, against two
lost for every three kills when receiving into Python's memory first.

Slot: a prefix of 64 bytes, eight u64 words, then the record.

=====  ==================================================================================
word   meaning
=====  ==================================================================================
0      batch: the number of the transaction that moves the record into the store; 0: held
1      owner: what the record belongs to (the broker's queue id), written before receiving
7      length of the record, written after receiving; 0, or more than a slot has: not yet
=====  ==================================================================================

Some kernel queues write a word of their own just before the record (``Lane.lead``): into word 7,
before the record itself. What they write there exceeds every length (``lanes.sysv.TYPE``), and is no
part of the test whether a slot is occupied.

A **raw** slot (word 2 is the kind of queue, ``foreign``) holds a message of somebody else's queue, any
bytes at all, with its number. Whether it is occupied is told by the word where the kernel writes the
number before it writes the body: word 6, for a priority, or word 7, for a type. Word 3 is the body's
length + 1, written after receiving. The slot is filled with ``FILL`` beforehand, so that of a receiver
killed before it noted the length the body is known still: all that is not filling at the end. (A body
that ends in filling loses that, which no text does, and one in 256 bodies of random bytes.)

Invariants: the file's blocks exist before anything is received (the kernel dequeues first and
copies then; a copy that fails loses the record) and it never shrinks. A slot is occupied when any of
the first 16 bytes of its record is not zero; clearing zeroes them together with the length.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from ctypes import c_long, c_uint, c_void_p
from pathlib import Path
from typing import NamedTuple

from haypile.lanes.errors import LaneGone, NoRoom
from haypile.lanes.foreign import POSIX, UNSET, ForeignLane
from haypile.lanes.lane import Lane

PREFIX_BYTES = 64
_BATCH, _OWNER, _LENGTH = 0, 1, 7
#: The length word and the first bytes of the record, which lie side by side, are cleared together.
_MARK_BYTES = 16
_CLEAR = bytes(8 + _MARK_BYTES)
_HEADER = 4096
_MAGIC = b"haypile1"


#: Raw slots (``foreign``): which kind of queue, the body's length + 1, and where the kernel writes numbers.
_KIND, _SIZE, _PRIORITY = 2, 3, 6
#: What a raw slot is filled with before the kernel writes a body there. These bytes stand in no UTF-8 text.
FILL = bytes.fromhex("c1f5f6f7f8f9fbfd")


class Landed(NamedTuple):
    """What a slot holds, as found by recovery."""

    slot: int
    batch: int
    #: The record; when the owner died before it could note the length, all bytes of the slot.
    record: bytes
    owner: int
    #: Raw slots: the kind of queue, the message's number, whether the length is inferred (see ``FILL``).
    kind: int = 0
    number: int = 0
    inferred: bool = False

_LIMITS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EFBIG, errno.EMFILE, errno.ENFILE)


class Landing:
    """A session's slots. One thread at a time; other processes only ``read`` it when it is dead."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        """For ``create`` alone."""
        stride = PREFIX_BYTES + slot_bytes
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._map = mmap.mmap(fd, _HEADER + slots * stride)
        self._words = memoryview(self._map).cast("Q")
        self._halves = memoryview(self._map).cast("I")
        self._bytes = memoryview(self._map)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._starts = [_HEADER + slot * stride + PREFIX_BYTES for slot in range(slots)]
        self._prefixes = [(at - PREFIX_BYTES) // 8 for at in self._starts]
        self._start = start
        #: Where to receive, for lanes that write so many bytes before the record.
        self._addresses = {0: self._receivers(0)}
        self._free = list(range(slots - 1, -1, -1))
        #: Slots that were raw: bytes at their start that are no filling. Others are none at all.
        self._dirty: dict[int, int] = {}
        #: Slots whose receiving was cut short by a signal handler's exception after the record came.
        #: ``take`` gives them out first; whoever leaves for good looks here.
        self.late: list[int] = []

    def _receivers(self, lead: int) -> list[c_void_p]:
        return [c_void_p(self._start + at - lead) for at in self._starts]

    @classmethod
    def create(cls, path: Path, slots: int = 128, slot_bytes: int = 8192, mode: int = 0o600) -> Landing:
        """A new landing in a file at ``path``.

        ``slot_bytes``: a multiple of 8, at least the message size of every lane that lands here. ``mode``:
        of the file, whatever the umask.
        Raises ``NoRoom`` when there is no memory or disk space for it.
        """
        size = _HEADER + slots * (PREFIX_BYTES + slot_bytes)
        temporary = path.with_name(path.name + ".new")
        temporary.unlink(missing_ok=True)
        fd = -1
        try:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(fd, mode)
            os.posix_fallocate(fd, 0, size)
            os.pwrite(fd, _MAGIC + slots.to_bytes(8, "little") + slot_bytes.to_bytes(8, "little"), 0)
            landing = cls(fd, slots, slot_bytes)
            os.rename(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _LIMITS:
                raise NoRoom(
                    f"no room for a landing of {size} bytes in {path.parent}: {error.strerror}"
                ) from error
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        return landing

    # -- slots --------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Slots that are free."""
        return len(self._free)

    def take(self, lane: Lane, batch: int = 0, owner: int = 0) -> int | None:
        """Receive from ``lane`` into a free slot; None when the lane is empty.

        A token takes a slot, too: its ``record`` is empty, ``clear`` it. Raises ``IndexError``
        when no slot is free, ``LaneGone`` as the lane does; then nothing was taken.
        """
        for slot in self.late_of(owner):
            self.late.remove(slot)
            self.mark(slot, batch)
            return slot
        addresses = self._addresses.get(lane.lead)
        if addresses is None:
            addresses = self._addresses[lane.lead] = self._receivers(lane.lead)
        slot = self._free.pop()
        if self._dirty:
            self._dirty.pop(slot, None)
        words, prefix = self._words, self._prefixes[slot]
        words[prefix] = batch
        words[prefix + 1] = owner
        try:
            length = lane.receive_into(addresses[slot])
            if length < 0:
                self._free.append(slot)
                return None
            words[prefix + 7] = length
        except BaseException:
            self._interrupted(slot)
            raise
        return slot

    def take_some(self, lane: Lane, owner: int, most: int) -> list[tuple[int, bytes]]:
        """Up to ``most`` slots, and what is in them: ``take`` and ``record`` of as many, in one loop.

        Fewer when the lane is empty, or when there are late ones, which come first. Raises as ``take`` does.
        """
        if first := self.late_of(owner)[:most]:
            found = [(slot, self.record(slot)) for slot in first]
            self.late = [slot for slot in self.late if slot not in first]
            return found
        addresses = self._addresses.get(lane.lead)
        if addresses is None:
            addresses = self._addresses[lane.lead] = self._receivers(lane.lead)
        free, dirty, words, room, receive = self._free, self._dirty, self._words, self._map, lane.receive_into
        prefixes, starts = self._prefixes, self._starts
        found = []
        slot = -1
        try:
            while len(found) < most and (free or not found):
                slot = free.pop()
                if dirty:
                    dirty.pop(slot, None)
                prefix, start = prefixes[slot], starts[slot]
                words[prefix] = 0
                words[prefix + 1] = owner
                length = receive(addresses[slot])
                if length < 0:
                    free.append(slot)
                    break
                words[prefix + 7] = length
                found.append((slot, room[start : start + length]))
        except BaseException as error:
            known = [one for one, _ in found]
            given = bool(found) and isinstance(error, LaneGone)
            if not given:
                # Nobody hears of them now.
                self.late.extend(known)
            if slot >= 0 and slot not in known:
                self._interrupted(slot)
            if not given:
                raise
        return found

    def take_raw(self, lane: ForeignLane, owner: int) -> int | None:
        """Receive a message of somebody else's queue into a free slot; as ``take`` otherwise."""
        for slot in self.late_of(owner):
            self.late.remove(slot)
            return slot
        addresses = self._addresses.get(lane.lead)
        if addresses is None:
            addresses = self._addresses[lane.lead] = self._receivers(lane.lead)
        slot = self._free.pop()
        words, prefix, start = self._words, self._prefixes[slot], self._starts[slot]
        words[prefix] = words[prefix + _SIZE] = words[prefix + _LENGTH] = 0
        words[prefix + _PRIORITY] = UNSET
        words[prefix + _OWNER] = owner
        words[prefix + _KIND] = lane.kind
        dirty = self._dirty.get(slot, self.slot_bytes)
        if dirty:
            self._map[start : start + dirty] = (FILL * (dirty // 8 + 1))[:dirty]
            self._dirty[slot] = 0
        try:
            length = lane.receive_into(addresses[slot])
            if length < 0:
                self._release(slot)
                return None
            words[prefix + _SIZE] = length + 1
            self._dirty[slot] = length
        except BaseException:
            self._interrupted(slot)
            raise
        return slot

    def message(self, slot: int) -> tuple[bytes, int, bool]:
        """Body and number of the message in a raw slot; and whether its length had to be inferred."""
        prefix, start = self._prefixes[slot], self._starts[slot]
        size = self._words[prefix + _SIZE]
        if not size:
            late = self.landed(slot)
            return late.record, late.number, True
        posix = self._words[prefix + _KIND] == POSIX
        number = self._halves[2 * (prefix + _PRIORITY)] if posix else self._words[prefix + _LENGTH]
        return self._map[start : start + size - 1], number, False

    def landed(self, slot: int) -> Landed:
        """What ``slot`` holds, raw or not."""
        prefix, start = self._prefixes[slot] * 8, self._starts[slot]
        words = self._words
        if not words[self._prefixes[slot] + _KIND]:
            batch, owner = words[self._prefixes[slot]], words[self._prefixes[slot] + _OWNER]
            return Landed(slot, batch, self.record(slot), owner)
        return _read_raw(slot, self._bytes[prefix : start + self.slot_bytes])

    def _release(self, slot: int) -> None:
        """A raw slot is free. Each step leaves it what it was or not occupied."""
        words, prefix, start = self._words, self._prefixes[slot], self._starts[slot]
        words[prefix + _PRIORITY] = UNSET
        words[prefix + _LENGTH] = 0
        self._map[start : start + _MARK_BYTES] = bytes(_MARK_BYTES)
        words[prefix + _KIND] = 0
        self._dirty[slot] = max(self._dirty.get(slot, self.slot_bytes), _MARK_BYTES)
        self._free.append(slot)

    def _occupied(self, slot: int) -> bool:
        prefix, start = self._prefixes[slot] * 8, self._starts[slot]
        return _is_occupied(self._bytes[prefix : start + _MARK_BYTES])

    def _interrupted(self, slot: int) -> None:
        """By an error before the record came, or by a signal handler that raised after it."""
        if self._occupied(slot):
            self.late.append(slot)
        elif self._words[self._prefixes[slot] + _KIND]:
            self._release(slot)
        elif slot not in self._free:
            self._free.append(slot)

    def address(self, slot: int) -> c_void_p:
        """Where the record of ``slot`` lies in memory."""
        return self._addresses[0][slot]

    def record(self, slot: int) -> bytes:
        """The record in ``slot``; b"" for a token.

        All bytes of the slot for a late one, whose length is not known: a record tells its own.
        """
        start = self._starts[slot]
        length = self._words[self._prefixes[slot] + 7]
        if not 0 < length <= self.slot_bytes:
            length = self.slot_bytes if any(self._bytes[start : start + _MARK_BYTES]) else 0
        return self._map[start : start + length]

    def view(self, slot: int, length: int) -> bytes:
        """The first ``length`` bytes of the record in ``slot``."""
        start = self._starts[slot]
        return self._map[start : start + length]

    def owner(self, slot: int) -> int:
        """What the record in ``slot`` belongs to."""
        return int(self._words[self._prefixes[slot] + _OWNER])

    def mark(self, slot: int, batch: int) -> None:
        """Say that the transaction numbered ``batch`` moves the record into the store; 0: none does."""
        self._words[self._prefixes[slot]] = batch

    def clear(self, slot: int) -> None:
        """The record in ``slot`` is settled, or safe in the store."""
        if slot in self._dirty:
            self._release(slot)
            return
        start = self._starts[slot]
        self._map[start - 8 : start + _MARK_BYTES] = _CLEAR
        self._free.append(slot)

    def late_of(self, owner: int) -> list[int]:
        """The slots that ``take`` gives out first."""
        return [slot for slot in self.late if self.owner(slot) == owner] if self.late else []

    def put_off(self, slots: Iterable[int]) -> None:
        """Nobody has the records in ``slots`` in hand any more: ``take`` gives those out first which no batch has."""
        self.late.extend(slot for slot in slots if not self._words[self._prefixes[slot]] and self._occupied(slot))

    def occupied(self) -> list[int]:
        """Slots that hold a record."""
        free = set(self._free)
        return [slot for slot in range(self.slots) if slot not in free and self._occupied(slot)]

    def close(self) -> None:
        """Let go of the memory; the file stays."""
        self._addresses = {}
        self._words.release()
        self._halves.release()
        self._bytes.release()
        self._map.close()

    # -- recovery -----------------------------------------------------------------------------

    @staticmethod
    def read(path: Path) -> Iterator[Landed]:
        """What a dead session's landing holds; nothing when it has none."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            state = os.fstat(fd)
            head = os.pread(fd, 24, 0)
            if not stat.S_ISREG(state.st_mode) or head[:8] != _MAGIC:
                return
            slots, slot_bytes = int.from_bytes(head[8:16], "little"), int.from_bytes(head[16:24], "little")
            stride = PREFIX_BYTES + slot_bytes
            # Never shorter than it says, unless somebody else has written there.
            slots = min(slots, (state.st_size - _HEADER) // stride)
            if slot_bytes < _MARK_BYTES or slot_bytes % 8:
                return
            for slot in range(slots):
                at = _HEADER + slot * stride
                if not _is_occupied(memoryview(os.pread(fd, PREFIX_BYTES + _MARK_BYTES, at))):
                    continue
                data = os.pread(fd, stride, at)
                view = memoryview(data)
                words = view[:PREFIX_BYTES].cast("Q")
                if words[_KIND]:
                    yield _read_raw(slot, view)
                else:
                    length = words[_LENGTH]
                    if not 0 < length <= slot_bytes:
                        length = slot_bytes
                    record = data[PREFIX_BYTES : PREFIX_BYTES + length]
                    yield Landed(slot, words[_BATCH], record, words[_OWNER])
        finally:
            os.close(fd)


def _is_occupied(slot: memoryview) -> bool:
    """Whether the slot that starts there holds a record; more than ``_MARK_BYTES`` of it are not needed."""
    words = slot[:PREFIX_BYTES].cast("Q")
    kind = words[_KIND]
    if kind == POSIX:
        return words[_PRIORITY] != UNSET
    if kind:
        return words[_LENGTH] != 0
    return any(slot[PREFIX_BYTES : PREFIX_BYTES + _MARK_BYTES])


def _read_raw(slot: int, view: memoryview) -> Landed:
    """What an occupied raw slot holds."""
    words = view[:PREFIX_BYTES].cast("Q")
    kind, size = words[_KIND], words[_SIZE]
    body = bytes(view[PREFIX_BYTES:])
    if size:
        body = body[: size - 1]
    else:
        length = len(body)
        while length and body[length - 1] == FILL[(length - 1) % 8]:
            length -= 1
        body = body[:length]
    at = _PRIORITY * 8 if kind == POSIX else _LENGTH * 8
    number = c_uint if kind == POSIX else c_long
    value = number.from_buffer_copy(view, at).value
    return Landed(slot, words[_BATCH], body, words[_OWNER], kind, value, not size)

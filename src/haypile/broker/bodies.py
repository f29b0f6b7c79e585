"""Bodies apart: large ones pass a lane as a reference, and wait in memory of their own.

Owns: a session's slabs, those of others that it reads, and the records that refer to them.
Must not know: queues' rules, who consumes, when a message is settled (``holdings`` and ``channel`` say so).

A record that is too large for any lane is copied into a slot of the publishing session's slab; what is sent is
the same record with a reference in the body's place and the flag ``APART``. So it takes the way of all
others, and what is true of records in lanes and in landings is true of it. The slot is given back by whoever
settles the message: who receives it and does not acknowledge at once, who acknowledges with the acknowledgement, who
moves it into the store after the commit. Whatever leaves lanes and landings for the store is whole again.

Invariants:
- A reference is in one place: a lane, a slot of a landing, or the hands of who received it and does not acknowledge.
- The slot is given back before the landing's: a crash in between leaves a reference to nothing, which is a message
  that was settled.
- Who receives and does not acknowledge claims what it has received before it reads it: of a dead session that is given
  back. Whoever is killed between filling a slot and sending, or between receiving and claiming, leaves the slot in use,
  in a file that goes when the last session of the vhost does (``hay.sessions``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from haypile.broker.message import APART, FLAGS_AT, HEADER, HEADER_SIZE, REFERENCE, Foreign, length_of
from haypile.hay import room
from haypile.hay.places import file_mode
from haypile.lanes.errors import LaneGone, NoRoom
from haypile.lanes.limits import SIZES as LANE_SIZES
from haypile.lanes.slab import Slab, Spare

if TYPE_CHECKING:
    from collections.abc import Iterable

    from haypile.broker.entities import Queue
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.hay.sessions import Peers
    from haypile.lanes.lane import Lane

#: Bytes of a slot, and slots of that size: a session has those that it has use for.
SIZES = ((1 << 14, 64), (1 << 16, 64), (1 << 18, 16), (1 << 20, 8))
#: Records that no lane takes, however large the kernel would have made it; and with bodies that a slot takes, about.
LEAST, MOST = LANE_SIZES[0][1], SIZES[-1][0] + (1 << 16)
#: A slab takes at most such a part of the memory that is to spare, and has fewer slots if need be, but not less than so
#: many.
SHARE, SLOTS_LEAST = 8, 4
#: Messages sent by way of the store before a slab is asked for again where there was no room, or a slot waited for.
IN_VAIN, VAIN_WAITS = 256, 16
#: Slabs of others kept mapped, at most.
OPEN = 64


class Bodies:
    """One session's."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.peers = session.vhost.hay.peers
        self.nonce = session.nonce
        #: By the size of a slot; which queue each slot's body went to.
        self.own: dict[int, Slab] = {}
        self.went: dict[tuple[int, int], Queue] = {}
        #: By session and size, those opened last at the end.
        self.others: dict[tuple[int, int], Slab] = {}
        #: Bytes of the largest.
        self.largest = 0
        self.spare = Spare()
        #: Messages for which no slab is asked for; for which no slot is waited for, of whatever queue.
        self.in_vain = self.vain_waits = 0
        #: A body was read that stays where it is; any was.
        self.read = self.met = False

    # -- sending ------------------------------------------------------------------------------

    def offer(self, handle: QueueHandle, lane: Lane, record: bytes, patience: float) -> bool:
        """Send ``record`` through ``lane``, its body apart; False when it must go to the hay.

        A slot is waited for as long as a full lane is, ``patience`` seconds. See ``QueueHandle.offer``.
        """
        _, _, _, length, properties, prefix, _, flags = HEADER.unpack_from(record)
        at = HEADER_SIZE + prefix + properties
        if at + REFERENCE.size > lane.msgsize:
            return False
        slab = self.slab_for(length)
        if slab is None:
            return False
        body = memoryview(record)[at:]
        place = slab.put(body)
        if place is None:
            self.reclaim(slab)
            place = slab.put(body)
        if place is None and patience > 0 and handle.others_consume():
            place = self.wait_for_slot(slab, body, patience)
        if place is None:
            return False
        slot, number = place
        self.went[slab.slot_bytes, slot] = handle.queue
        reference = REFERENCE.pack(self.session.id, slab.slot_bytes, slot, number)
        sent = b"".join((record[:FLAGS_AT], bytes((flags | APART,)), record[HEADER_SIZE:at], reference))
        try:
            if lane.send(sent) or (patience > 0 and handle.wait_for_room(lane, sent, patience)):
                return True
        except LaneGone:
            slab.reclaim(slot)
            raise
        slab.reclaim(slot)
        return False

    def wait_for_slot(self, slab: Slab, body: memoryview, patience: float) -> tuple[int, int] | None:
        """All slots are in use: wait for another session's consumer, unless that was in vain lately."""
        if self.vain_waits:
            self.vain_waits -= 1
            return None
        if slab.wait(patience):
            return slab.put(body)
        self.vain_waits = VAIN_WAITS
        return None

    def slab_for(self, length: int) -> Slab | None:
        """The slab of our own for a body of ``length`` bytes; None: there is none, and no room for one."""
        size, slots = next((one for one in SIZES if length <= one[0]), (0, 0))
        if not size:
            return None
        slab = self.own.get(size)
        if slab is None:
            if self.in_vain:
                self.in_vain -= 1
                return None
            slab = self.make(size, slots)
            if slab is None:
                self.in_vain = IN_VAIN
                return None
            self.own[size] = slab
            self.keep_heap(slab)
        return slab

    def make(self, size: int, slots: int) -> Slab | None:
        """A new slab; None: there is no room for it."""
        session = self.session
        hay = session.vhost.hay
        slots = min(slots, room.spare(hay) // SHARE // size)
        if slots < SLOTS_LEAST:
            return None
        try:
            return Slab.create(self.peers.bodies(session.id, size), slots, size, file_mode(self.peers.directory))
        except NoRoom:
            return None

    def reclaim(self, slab: Slab) -> None:
        """What went to queues that are deleted is nobody's any more."""
        for slot in slab.taken():
            queue = self.went.get((slab.slot_bytes, slot))
            if queue is not None and queue.deleted:
                slab.reclaim(slot)

    # -- receiving ----------------------------------------------------------------------------

    def expect(self) -> None:
        """References may come: have what it takes to follow them, whatever becomes scarce."""
        self.spare.keep(self.session.file.bell.fd)

    def find(self, record: bytes) -> tuple[Slab, int, int]:
        """Slab, slot and length of the body of ``record``.

        Raises ``Foreign`` when it is not there: the message was settled, or never one of ours.
        """
        length = HEADER.unpack_from(record)[3]
        end = length_of(record)
        if end > len(record):
            raise Foreign(f"{len(record)} bytes that refer to no body")
        session, size, slot, number = REFERENCE.unpack_from(record, end - REFERENCE.size)
        slab = self.own.get(size) if session == self.session.id else self.other(session, size)
        if slab is None or not slab.has(slot, number, length):
            raise Foreign(f"{len(record)} bytes that refer to a body which is not there")
        self.met = True
        return slab, slot, length

    def other(self, session: int, size: int) -> Slab | None:
        """A slab of another session; None: it is not there."""
        key = (session, size)
        slab = self.others.get(key)
        if slab is None:
            path = self.peers.bodies(session, size)
            if len(self.others) >= OPEN:
                self.close_oldest()
            while True:
                try:
                    slab = Slab.open(path)
                    break
                except NoRoom:
                    # No descriptor or address space left.
                    if not (self.spare.drop() or self.close_oldest()):
                        raise
            if slab is None:
                return None
            self.others[key] = slab
            self.keep_heap(slab)
        return slab

    def close_oldest(self) -> bool:
        """Let go of the slab that was opened first; False: there is none."""
        for key in self.others:
            self.others.pop(key).close()
            return True
        return False

    def keep_heap(self, slab: Slab) -> None:
        """Bodies of that size will come and go, perhaps all at once: let the C library keep memory for them.

        It gives the top of the heap back to the kernel when more than 128 KB are free there, and gets it anew for the
        next body: a page fault for each 4 KB, which take three times as long as the copy. But once it has freed a block
        which had a mapping of its own, it keeps twice the size of that (mallopt(3), M_MMAP_THRESHOLD: the limits are
        dynamic).
        """
        size = slab.slots * slab.slot_bytes
        if size > self.largest:
            self.largest = size
            bytes(size)

    def look(self, record: bytes) -> bytes:
        """The body of ``record``, which stays where it is. Raises ``Foreign``."""
        slab, slot, length = self.find(record)
        self.read = True
        return slab.body(slot, length)

    def claim(self, records: Iterable[bytes]) -> None:
        """All of these were received, and will be taken one after the other."""
        for record in records:
            if is_apart(record, self.nonce):
                with suppress(Foreign):
                    slab, slot, _ = self.find(record)
                    slab.claim(slot, self.session.id)

    def take(self, record: bytes) -> bytes:
        """The body of ``record``, which nobody else will ask for. Raises ``Foreign``."""
        slab, slot, length = self.find(record)
        slab.claim(slot, self.session.id)
        body = slab.body(slot, length)
        slab.give_back(slot)
        return body

    def taken(self, queue: str, record: bytes) -> bytes | None:
        """``take``; None where the body is not there, and the record is put aside."""
        try:
            return self.take(record)
        except Foreign as error:
            self.session.set_aside(queue, record, error)
            return None

    def whole(self, record: bytes) -> bytes:
        """``record`` as it was before its body was put apart. Raises ``Foreign``."""
        slab, slot, length = self.find(record)
        at = length_of(record) - REFERENCE.size
        head = (record[:FLAGS_AT], bytes((record[FLAGS_AT] & ~APART,)), record[HEADER_SIZE:at])
        return b"".join((*head, slab.body(slot, length)))

    def whole_or_nothing(self, record: bytes) -> bytes:
        """The same; empty where the body is not there: the message was settled."""
        try:
            return self.whole(record)
        except Foreign:
            return b""

    def give_back(self, record: bytes) -> None:
        """The message is settled, or whole in the store."""
        try:
            slab, slot, _ = self.find(record)
        except Foreign:
            return
        slab.give_back(slot)

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all of them; what is still needed of ours stays until it was read."""
        for slab in self.own.values():
            slab.leave()
            slab.close()
        for slab in self.others.values():
            slab.release(self.session.id)  # of a callback's error, say
            slab.close()
        self.own.clear()
        self.others.clear()
        self.went.clear()
        self.spare.drop()


def goes_apart(size: int) -> bool:
    """Whether the body of a record of ``size`` bytes may be put apart."""
    return LEAST < size <= MOST


def is_apart(record: bytes, nonce: bytes) -> bool:
    """Whether ``record`` is one of ours whose body is elsewhere."""
    return len(record) >= HEADER_SIZE and record[FLAGS_AT] & APART != 0 and record.startswith(nonce)


def leave_behind(peers: Peers, dead: int) -> None:
    """The session ``dead`` will put no body apart any more, nor read what it has claimed."""
    with suppress(OSError, NoRoom):  # no descriptor left, say: it is tidying up
        for path in peers.all_bodies():
            slab = Slab.open(path)
            if slab is not None:
                slab.release(dead)
                if path.name.startswith(f"{dead}."):
                    slab.leave()
                slab.close()

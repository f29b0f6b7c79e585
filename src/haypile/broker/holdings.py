"""What a session holds for its consumers, where a crash cannot lose it.

Owns: the landing and who sits in its slots, the numbers of the session's taken list, the
acknowledgements not yet written, and the transactions that move messages from slots and lanes
into the hay.
Must not know: consumers' credit, AMQP methods.

Moving is exactly-once: a slot is marked with a batch number before the transaction that stores
its message commits, and that transaction writes the same number into the session's row. Recovery
(``recovery``) puts back only slots that are unmarked or marked with a number the row has not
reached. A transaction that fails unmarks its slots; batch numbers are never used twice.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from haypile.broker import message
from haypile.broker.aging import expires_of
from haypile.broker.bodies import is_apart
from haypile.broker.message import FLAGS_AT
from haypile.broker.queue import DRAINED, TOKENS, count_lane
from haypile.broker.raw import record_of
from haypile.broker.taken import REDELIVERED, Taken
from haypile.hay import room
from haypile.hay.errors import OutOfRoom
from haypile.hay.layout import JOURNALED, NOTED
from haypile.hay.locking import GATHER, removed
from haypile.hay.places import file_mode
from haypile.lanes.errors import LaneGone, NoRoom
from haypile.lanes.landing import Landing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from haypile.broker.channel import Unacked
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.broker.taken import Landed
    from haypile.hay.txn import WriteTxn
    from haypile.lanes.lane import Lane

LOGGER = logging.getLogger("haypile")

#: Slots of a landing: prefetch 100 fits, and 16 more are kept free for moving lanes.
SLOTS = 128

#: Slots kept free for moving lanes.
RESERVE = 16
#: Slots of a landing where there is no room for more.
LEAST_SLOTS = 24

#: Acknowledgements written before the loop has its turn, where it has other work.
ACK_SLICE = 500

#: A session's row: the last batch moved, then free text about the session.
ROW = struct.Struct("<Q")


class Holdings:
    """The landing, the taken list and the pending acknowledgements of one session."""

    def __init__(self, session: Session, info: bytes) -> None:
        self.session = session
        self.info = info
        self.slots: dict[int, Unacked] = {}
        #: Records in slots whose bodies are elsewhere.
        self.apart: dict[int, bytes] = {}
        self.acked: list[int] = []
        #: Messages on their way back to their queues, and whether that counts as a failed delivery.
        self.returning: deque[tuple[Unacked, bool]] = deque()
        self.next_number = 1
        #: There was little in the store when messages were last taken.
        self.scant = True
        self.batch = 0
        #: Slots filled from a lane whose transaction failed, by queue id: moved next time; and the
        #: number of the first such transaction.
        self.stranded: dict[int, list[int]] = {}
        self.failed = 0
        self._landing: Landing | None = None

    @property
    def landing(self) -> Landing:
        """The landing, made on first use (1 MiB of real memory: an idle connection needs none)."""
        if self._landing is None:
            path, hay = self.session.file.landing_path(), self.session.vhost.hay
            try:
                mode = file_mode(path.parent)
                try:
                    self._landing = Landing.create(path, slots=SLOTS, mode=mode)
                except NoRoom:
                    with hay.exclusive():
                        room.run_out(hay)
                    self._landing = Landing.create(path, slots=LEAST_SLOTS, mode=mode)
            except FileNotFoundError as error:
                # The directory is on its way out, the files by which we would notice may still be there.
                raise removed(hay) from error
        return self._landing

    def prepare(self) -> bool:
        """Have a landing, as good as it can be had; whether there was one already."""
        if self._landing is not None:
            return True
        try:
            return self.landing is None
        except (NoRoom, OutOfRoom):
            # Who needs it meets that, too.
            return True

    def write(self, *, taking: bool = False) -> Moving:
        """A write transaction that may move slots; ``taking``: it can wait a little, for there may be more to take."""
        return Moving(self, GATHER if taking and self.scant else 0.0)

    def free_slot(self, slot: int) -> None:
        """The message in ``slot`` is settled."""
        self.slots.pop(slot, None)
        if slot in self.apart:
            self.session.bodies.give_back(self.apart.pop(slot))
        self.landing.clear(slot)

    def note_apart(self, landed: Iterable[Landed]) -> None:
        """Of these the session has read bodies that are elsewhere, to be given back with the slots."""
        self.session.bodies.read = False
        nonce = self.session.nonce
        self.apart.update((slot, record) for slot, record in landed if is_apart(record, nonce))

    def forget(self, taken: Taken) -> None:
        """Drop a message in hand that cannot be delivered (foreign bytes)."""
        if taken.slot >= 0:
            self.free_slot(taken.slot)
        elif taken.number:
            self.acked.append(taken.number)

    def flush_acks(self) -> None:
        """Write down what was acknowledged; when there is no room for that, the next time."""
        if self.acked:
            try:
                with self.write() as moving:
                    moving.write_acks()
            except OutOfRoom as error:
                name = self.session.vhost.name
                LOGGER.warning("vhost %r: %d acknowledgements wait for room: %s", name, len(self.acked), str(error))

    def spill(self) -> None:
        """Move every held message from its slot to the taken list, to free the slots."""
        if not self.slots:
            return
        with self.write() as moving:
            self.session.vhost.topology.sync(moving.txn)
            moving.write_acks()
            for slot, unacked in list(self.slots.items()):
                number = self.next_number
                self.next_number += 1
                record = unacked.record
                order = unacked.order or message.order_of(record)
                moving.move(slot)
                moving.txn.keep(
                    self.session.id,
                    number,
                    unacked.handle.id,
                    order,
                    record,
                    flags=self.flags_of(unacked.handle, record),
                    deliveries=unacked.deliveries,
                    expires=expires_of(unacked.handle, record),
                )
                unacked.number, unacked.order = number, order
                moving.leaving.append(unacked)

    def keep(self, handle: QueueHandle, landed: Sequence[Landed]) -> list[Taken]:
        """Move what has just been received to the taken list, where the journal finds what is persistent."""
        session, nonce, number = self.session, self.session.nonce, self.next_number
        rows: list[tuple[bytes, bytes, int, int]] = []
        try:
            with self.write() as moving:
                session.vhost.topology.sync(moving.txn)
                moving.write_acks()
                self.note_apart(landed)
                for slot, record in landed:
                    moving.move(slot)
                    if slot in self.apart:
                        record = session.bodies.whole_or_nothing(record)
                        if not record:
                            continue
                    if record.startswith(nonce) and len(record) >= message.HEADER_SIZE:
                        flags = self.flags_of(handle, record)
                        expires = expires_of(handle, record)
                        rows.append((message.order_of(record), record, flags and flags | NOTED, expires))
                    else:
                        session.set_aside(handle.queue.name, record)
                moving.txn.keep_run(session.id, number, handle.id, rows)
                self.next_number = number + len(rows)
        except BaseException:
            self.landing.put_off(self.unstrand(handle, landed))
            raise
        return [Taken(row[1], False, -1, number + place, row[0], 0) for place, row in enumerate(rows)]

    def unstrand(self, handle: QueueHandle, landed: Sequence[Landed]) -> list[int]:
        """Their transaction failed, but these are seen to: their slots."""
        slots = [slot for slot, _ in landed]
        stranded = self.stranded.pop(handle.id, [])
        if left := [slot for slot in stranded if slot not in slots]:
            self.stranded[handle.id] = left
        return slots

    def flags_of(self, handle: QueueHandle, record: bytes) -> int:
        """The entry's flags for ``record``, about to be put into the store for the first time."""
        persistent = handle.durable and record[FLAGS_AT] & self.session.publisher.journals
        return JOURNALED if persistent and not handle.queue.deleted else 0

    def make_way(self, handle: QueueHandle) -> None:
        """Before a transaction that must drain the queue's lane whole: move what slots do not hold."""
        lane = None if handle.foreign else handle.current_lane()
        if lane is None or lane.maxmsg <= RESERVE:
            return
        try:
            while lane.depth() > self.landing.free:
                with self.write() as moving:
                    self.session.vhost.topology.sync(moving.txn)
                    moving.drain(handle, lane)
        except LaneGone:
            handle.generation = -1

    def strays(self) -> list[int]:
        """Occupied slots that nobody has in hand: a signal handler raised, a transaction failed."""
        landing = self._landing
        return [] if landing is None else [slot for slot in landing.occupied() if slot not in self.slots]

    def close(self) -> None:
        """Let go of the landing (the session's row is gone already)."""
        if self._landing is not None:
            self._landing.close()
            self._landing = None


class Moving:
    """A write transaction of a session, with the slots it empties."""

    __slots__ = ("acks", "batch", "begun", "gather", "holdings", "leaving", "made", "moved", "txn", "view")

    txn: WriteTxn

    def __init__(self, holdings: Holdings, gather: float) -> None:
        self.holdings = holdings
        self.gather = gather
        self.batch = self.view = 0
        #: The session's row says so.
        self.begun = False
        self.moved: list[int] = []
        #: Unacked messages that live in the taken list once this commits.
        self.leaving: list[Unacked] = []
        self.acks = 0
        #: It made a lane, of which nobody else knows until it commits.
        self.made = False

    def __enter__(self) -> Moving:
        writer = self.holdings.session.vhost.hay.write()
        writer.gather = self.gather
        try:
            self.txn = writer.__enter__()
        finally:
            writer.gather = 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        holdings = self.holdings
        txn = self.txn
        noted, released = txn.noted, txn.released
        try:
            txn.__exit__(kind, error, trace)
        except BaseException:
            self.undo()
            raise
        if error is not None:
            self.undo()
            return
        if holdings.failed and not holdings.stranded:
            holdings.failed = 0
        for slot in self.moved:
            holdings.free_slot(slot)
        for unacked in self.leaving:
            unacked.slot = -1
            unacked.drop_record()
        if self.acks:
            del holdings.acked[: self.acks]
        if noted:
            holdings.session.journaling.note(noted)
        if released:
            holdings.session.journaling.release(released)

    def undo(self) -> None:
        """The transaction did not happen: the slots hold their messages as before."""
        holdings = self.holdings
        holdings.failed = holdings.failed or self.view
        for slot in self.moved:
            holdings.landing.mark(slot, 0)
            if slot not in holdings.slots:
                holdings.stranded.setdefault(holdings.landing.owner(slot), []).append(slot)
        for unacked in self.leaving:
            unacked.number = 0
        if self.made:
            vhost = holdings.session.vhost
            with vhost.hay.write() as txn:
                vhost.topology.sync(txn)
                vhost.sweep_lanes()

    def number(self) -> int:
        """The number of this transaction's batch."""
        if not self.batch:
            self.holdings.batch = self.batch = self.holdings.batch + 1
        return self.batch

    def begin(self) -> int:
        """The same, which the transaction stores."""
        if not self.begun:
            self.begun = True
            holdings, self.view = self.holdings, self.txn.number
            self.txn.put_session(holdings.session.id, ROW.pack(self.number()) + holdings.info)
        return self.batch

    def move(self, slot: int) -> None:
        """The message in ``slot`` is stored by this transaction."""
        self.holdings.landing.mark(slot, self.begin())
        self.moved.append(slot)

    def write_acks(self) -> None:
        """Delete what was acknowledged."""
        holdings = self.holdings
        acked = holdings.acked
        if acked:
            session = holdings.session
            if session.sliced and len(acked) > ACK_SLICE and not session.closed:
                acked = acked[:ACK_SLICE]
                session.outbox.soon()
            self.acks = len(acked)
            self.txn.drop(session.id, acked)

    def drain(self, handle: QueueHandle, lane: Lane | None = None) -> bool:
        """Move whatever is in the queue's lane (or in ``lane``, once its lane) into the hay.

        False when the slots ran out first: what is left in the lane is younger than what was moved.
        """
        holdings = self.holdings
        stranded = holdings.stranded.pop(handle.id, None)
        lane = lane or handle.current_lane()
        handle.close_gate()
        holdings.session.swaths.gather(self.txn, handle)
        handle.words[handle.base + TOKENS] = 0
        if stranded:
            # Somebody may have been given what came after them, if there was a commit in between.
            flags = 0 if holdings.failed == self.txn.number else REDELIVERED
            for slot in stranded:
                self.store(handle, slot, flags)
        try:
            waiting = 0 if lane is None or handle.foreign else lane.depth()
            if lane is None or not waiting:
                return True
            landing = holdings.landing
            batch = self.number()
            # Before the first is taken: a consumer that saw the gate open may receive the next one.
            handle.words[handle.base] = DRAINED
            late = landing.late_of(handle.id)
            # What comes from now on is younger than all that is in the hay.
            for _ in range(waiting + len(landing.late)):
                if not landing.free:
                    return not lane.depth()
                taken = landing.take(lane, batch, handle.id)
                if taken is None:
                    return True
                if landing.record(taken):
                    self.store(handle, taken, REDELIVERED if taken in late else 0)
                else:
                    # A token: nothing that anybody could miss.
                    landing.clear(taken)
        except LaneGone:
            handle.generation = -1
        return True

    def count(self, handle: QueueHandle) -> int:
        """The ready messages of the queue. Its gate stays open where that can be."""
        in_lane = None if handle.id in self.holdings.stranded else count_lane(handle)
        if in_lane is None:
            self.drain(handle)
            in_lane = 0
        return self.txn.count(handle.id)[0] + in_lane

    def store(self, handle: QueueHandle, slot: int, flags: int = 0) -> None:
        """Put the lane record in ``slot`` into the hay (nothing to put for a token, or what was settled).

        ``flags``: REDELIVERED of one that others may have overtaken.
        """
        holdings = self.holdings
        session = holdings.session
        landed = holdings.landing.landed(slot)
        record = record_of(session, handle.queue.name, landed)
        self.move(slot)
        if not landed.kind:
            holdings.note_apart([(slot, landed.record)])
        if record and not handle.queue.deleted:
            self.put(handle, record, flags)

    def put(self, handle: QueueHandle, record: bytes, flags: int = 0) -> None:
        """Put ``record``, which is whole, into the hay; aside if it is none."""
        session = self.holdings.session
        if not record.startswith(session.nonce) or len(record) < message.HEADER_SIZE:
            session.set_aside(handle.queue.name, record)
            return
        flags, expires = flags | self.holdings.flags_of(handle, record), expires_of(handle, record)
        self.txn.put(handle.id, message.order_of(record), record, flags=flags, expires=expires)
        if expires:
            session.due.note_arrival(self.txn, handle, expires)

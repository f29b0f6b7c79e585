"""What a session leaves behind, put in order: by itself when it closes, by another when it died.

Owns: giving back unacked messages, consumers and exclusive queues of a session, exactly once.
Must not know: how deaths are noticed (``hay.sessions``).

A dead session's lock is seized first, so that one recovers it; its landing and its taken list go
back into the hay (redelivered) in the transaction that also deletes its row. Whoever is killed
in the middle leaves the row, and the next one starts anew.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from haypile.broker import message
from haypile.broker.aging import expires_of
from haypile.broker.bodies import is_apart, leave_behind
from haypile.broker.declare import consumers as rows
from haypile.broker.enqueue import Arrivals
from haypile.broker.holdings import ROW, Moving
from haypile.broker.lanekeeping import settle_lane
from haypile.broker.raw import record_of
from haypile.broker.settle import SLICE, put_back
from haypile.broker.taken import REDELIVERED
from haypile.hay.counters import fold, read_dead
from haypile.hay.sessions import Grave, dead_sessions, seize
from haypile.lanes.landing import Landing

if TYPE_CHECKING:
    from haypile.broker.channel import Unacked
    from haypile.broker.entities import Queue
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

LOGGER = logging.getLogger("haypile")


def recover_dead(session: Session) -> None:
    """Recover every session whose process is gone; where the loop has other work, piece by piece."""
    for dead in dead_sessions(session.vhost.hay):
        if session.sliced and not session.holdings.prepare():
            # What comes may need it, and making it is a step of its own.
            session.pressure.go_on(functools.partial(recover_dead, session))
            return
        if not recover(session, dead):
            session.pressure.go_on(functools.partial(recover_dead, session))
            return


def sweep(session: Session) -> None:
    """Remove lanes that nobody knows."""
    if session.vhost.stray_lanes():
        # Somebody was killed after a commit: no session tells of it.
        with session.holdings.write() as moving:
            session.vhost.topology.sync(moving.txn)
            session.vhost.sweep_lanes()


def recover(session: Session, dead: int) -> bool:
    """Put back what the session ``dead`` held; whether that is all."""
    with seize(session.vhost.hay, dead) as grave:
        if grave is None:
            return True
        if session.sliced and not shrink(session, dead, grave):
            return False
        touched: dict[int, QueueHandle] = {}
        left: list[Queue] = []
        for queue in list(session.vhost.topology.by_id.values()):
            if queue.lane is not None and all(key[0] == dead for key in queue.consumers):
                session.holdings.make_way(session.handle_for(queue))
        with session.holdings.write() as moving:
            row = moving.txn.session(dead)
            context = session.context(moving)
            if row is not None:
                count = bury(session, moving, dead, row, grave, touched)
                left = rows.remove_session(context, dead)
                for queue in left:
                    settle_lane(moving, context, session.handle_for(queue))
                session.swaths.inherit(moving.txn, dead)
                fold(moving.txn, read_dead(grave.counts_path()), session.vhost.topology.by_id)
                moving.txn.delete_session(dead)
                moving.txn.on_commit.append(functools.partial(leave_behind, session.vhost.hay.peers, dead))
                rows.count_all_consumers(context)
            session.vhost.sweep_lanes()
        if row is not None:
            name = session.vhost.name
            LOGGER.info("vhost %r: session %d ended without closing: %d messages redelivered", name, dead, count)
        session.notify(context)
        for handle in touched.values():
            session.wake(handle)
        session.ring({queue.active[0] for queue in left if queue.active is not None})
    return True


def shrink(session: Session, dead: int, grave: Grave) -> bool:
    """Put a part of what ``dead`` held back, before the rest and its row; whether the rest is little."""
    with session.vhost.hay.read() as reading:
        if len(reading.taken(dead, SLICE + 1)) <= SLICE:
            return True
    touched: dict[int, QueueHandle] = {}
    with session.holdings.write() as moving:
        session.vhost.topology.sync(moving.txn)
        restore(session, moving, dead, grave.settled(), touched, SLICE)
    for handle in touched.values():
        session.wake(handle)
    return False


def restore(
    session: Session, moving: Moving, dead: int, settled: int, touched: dict[int, QueueHandle], most: int | None = None
) -> int:
    """Return what ``dead`` had taken to its queues, ``most`` of it; how many there were."""
    txn = moving.txn
    by_id = session.vhost.topology.by_id
    count = 0
    for number, held in txn.taken(dead, most):
        queue = by_id.get(held.queue)
        if queue is None or queue.deleted or number <= settled:
            txn.drop(dead, (number,))
            continue
        txn.restore(dead, number, flags=REDELIVERED, deliveries=held.deliveries + 1)
        touched[held.queue] = session.handle_for(queue)
        count += 1
    for handle in touched.values():
        handle.close_gate()
        if handle.expiring:
            session.due.note_head(txn, handle)
    return count


def bury(
    session: Session, moving: Moving, dead: int, row: bytes, grave: Grave, touched: dict[int, QueueHandle]
) -> int:
    """Return the messages of ``dead`` to their queues; how many there were."""
    txn = moving.txn
    by_id = session.vhost.topology.by_id
    batch = ROW.unpack_from(row)[0]
    count = 0
    for entry in Landing.read(grave.landing_path()):
        apart = not entry.kind and is_apart(entry.record, session.nonce)
        if apart:
            txn.on_commit.append(functools.partial(session.bodies.give_back, entry.record))
        if 0 < entry.batch <= batch or not (entry.record or entry.kind):
            continue
        queue = by_id.get(entry.owner)
        if queue is None or queue.deleted:
            continue
        handle = session.handle_for(queue)
        record = record_of(session, queue.name, entry)
        if not record:
            continue  # its body went with the acknowledgement
        if not record.startswith(session.nonce) or len(record) < message.HEADER_SIZE:
            session.set_aside(queue.name, record)
            continue
        flags = REDELIVERED | session.holdings.flags_of(handle, record)
        expires = expires_of(handle, record)
        txn.put(queue.id, message.order_of(record), record, flags=flags, deliveries=1, expires=expires)
        if expires:
            session.due.note_arrival(txn, handle, expires)
        touched[queue.id] = handle
        count += 1
    return count + restore(session, moving, dead, grave.settled(), touched)


def leave(session: Session) -> None:
    """A session's own orderly end."""
    unacked: list[Unacked] = []
    for channel in session.channels.values():
        unacked.extend(channel.unacked.values())
        for _, items, _ in channel.tx_settled:
            unacked.extend(one for _, one in items)
    unacked.extend(one for one, _ in session.holdings.returning)
    for source in session.sources.values():
        if not source.handle.others_consume():
            session.holdings.make_way(source.handle)
    passing = session.publisher.enroute.left()
    for handle in passing:
        session.holdings.make_way(handle)
    with session.holdings.write() as moving:
        context = session.context(moving)
        moving.write_acks()
        arrivals = Arrivals(session, moving.txn)
        session.swaths.leave(moving.txn)
        for handle in passing:
            moving.drain(handle)
            arrivals.touch(handle)
        for slot in session.holdings.strays():
            queue = session.vhost.topology.by_id.get(session.holdings.landing.owner(slot))
            if queue is not None:
                moving.store(session.handle_for(queue), slot, REDELIVERED)
                arrivals.touch(session.handle_for(queue))
        put_back(session, moving, arrivals, unacked, True)
        left = [session.handle_for(queue) for queue in rows.remove_session(context, session.id)]
        for handle in left:
            settle_lane(moving, context, handle)
        fold(moving.txn, session.counters.items(), session.vhost.topology.by_id)
        moving.txn.delete_session(session.id)
        if not moving.txn.session_ids():
            # Without consumers there are no lanes, so nobody has a reference any more.
            moving.txn.on_commit.append(session.vhost.hay.peers.sweep_bodies)
    session.gone = True
    session.notify(context)
    woken = {**arrivals.touched, **{handle.id: handle for handle in left if handle.closed}}
    for handle in woken.values():
        if not handle.queue.deleted:
            session.wake(handle)
    session.ring({handle.queue.active[0] for handle in left if handle.queue.active is not None})

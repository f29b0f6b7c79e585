"""Settling deliveries: acknowledged, requeued, rejected.

Owns: what happens to a message once the application has said what it thinks of it.
Must not know: delivery tags, methods, replies.

Invariants: an acknowledged message is gone for good once the session next writes (a crash before
means a redelivery, which AMQP allows); a requeued one is in the hay at its old place, marked
redelivered, before its landing slot is freed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from haypile.broker import message
from haypile.broker.aging import expires_of
from haypile.broker.deadletter import DELIVERY_LIMIT, REJECTED
from haypile.broker.enqueue import Arrivals
from haypile.broker.pressure import Unfinished
from haypile.broker.taken import REDELIVERED
from haypile.hay.errors import Busy, OutOfRoom

if TYPE_CHECKING:
    from haypile.broker.channel import Unacked
    from haypile.broker.holdings import Moving
    from haypile.broker.session import Session

#: Acknowledgements gathered before they are written, at most.
ACK_BATCH = 64
#: Messages requeued before the loop has its turn, where it has other work.
SLICE = 32


def ack(session: Session, messages: Iterable[Unacked]) -> None:
    """Forget ``messages``."""
    for one in messages:
        if one.slot >= 0:
            session.holdings.free_slot(one.slot)
        elif one.number:
            session.holdings.acked.append(one.number)
    if len(session.holdings.acked) >= ACK_BATCH and not session.stalled:
        try:
            session.holdings.flush_acks()
        except Busy:
            session.outbox.soon()


def reject(session: Session, messages: list[Unacked]) -> None:
    """Messages refused for good: dead-lettered where the queue says so, else forgotten."""
    dying = [one for one in messages if one.handle.rules.dead_letter_exchange is not None]
    if not dying:
        ack(session, messages)
        return
    with session.holdings.write() as moving:
        session.vhost.topology.sync(moving.txn)
        moving.write_acks()
        arrivals = Arrivals(session, moving.txn)
        for one in dying:
            bury(session, moving, arrivals, one, REJECTED)
    session.wake_all(arrivals)
    ack(session, [one for one in messages if one.handle.rules.dead_letter_exchange is None])


def bury(session: Session, moving: Moving, arrivals: Arrivals, one: Unacked, reason: str) -> None:
    """Dead-letter a message in hand, and let go of it."""
    if one.slot >= 0:
        record = one.record
        moving.move(one.slot)
    else:
        held = moving.txn.held(session.id, one.number)
        if held is None:
            return
        record = held[1]
        moving.txn.drop(session.id, (one.number,))
    if not one.handle.queue.deleted:
        arrivals.bury(one.handle, record, reason)


def requeue(session: Session, messages: Iterable[Unacked], *, count: bool = True) -> None:
    """Put ``messages`` back where they were, marked redelivered.

    ``count``: the delivery counts as a failed one (a quorum queue's x-delivery-limit).
    """
    messages = list(messages)
    if not messages:
        return
    returning = session.holdings.returning
    if session.sliced and (returning or len(messages) > SLICE):
        if not returning:
            session.pressure.go_on(functools.partial(go_on, session))
        returning.extend((one, count) for one in messages)
        return
    requeue_now(session, messages, count)


def go_on(session: Session) -> None:
    """Requeue the next of those on their way. Raises ``Unfinished`` when there are more."""
    returning = session.holdings.returning
    if not returning or session.closed:
        return
    count = returning[0][1]
    alike = itertools.takewhile(lambda pair: pair[1] is count, itertools.islice(returning, SLICE))
    part = [one for one, _ in alike]
    requeue_now(session, part, count)
    for _ in part:
        returning.popleft()
    if returning:
        raise Unfinished(functools.partial(go_on, session))


def requeue_now(session: Session, messages: list[Unacked], count: bool) -> None:
    """In one transaction."""
    try:
        _requeue(session, messages, count)
    except OutOfRoom:
        # What was kept back for such a case has been given up: there may be room now.
        _requeue(session, messages, count)


def _requeue(session: Session, messages: list[Unacked], count: bool) -> None:
    with session.holdings.write() as moving:
        arrivals = Arrivals(session, moving.txn)
        put_back(session, moving, arrivals, messages, count)
    session.wake_all(arrivals)


def put_back(
    session: Session, moving: Moving, arrivals: Arrivals, messages: list[Unacked], count: bool
) -> None:
    """The transaction part of ``requeue``: ``arrivals`` says whom to wake after the commit."""
    txn = moving.txn
    session.vhost.topology.sync(txn)
    for one in messages:
        handle = one.handle
        if handle.queue.deleted:
            # Not ``ack``: that may begin a transaction of its own.
            if one.slot >= 0:
                moving.move(one.slot)
            elif one.number:
                txn.drop(session.id, (one.number,))
            continue
        deliveries = one.deliveries + 1 if count else one.deliveries
        limit = handle.rules.delivery_limit
        if limit is not None and deliveries > limit:
            bury(session, moving, arrivals, one, DELIVERY_LIMIT)
            continue
        if one.slot >= 0:
            record = one.record
            order = one.order or message.order_of(record)
            moving.move(one.slot)
            flags = REDELIVERED | session.holdings.flags_of(handle, record)
            expires = expires_of(handle, record)
            txn.put(handle.id, order, record, flags=flags, deliveries=deliveries, expires=expires)
            if expires:
                session.due.note_arrival(txn, handle, expires)
        elif one.number:
            txn.restore(session.id, one.number, flags=REDELIVERED, deliveries=deliveries)
        else:
            continue
        arrivals.touch(handle)
    for handle in list(arrivals.touched.values()):
        arrivals.trim(handle)
        if handle.expiring:
            session.due.note_head(txn, handle)

"""Settling deliveries: acknowledged, requeued, rejected.

Owns: what happens to a message once the application has said what it thinks of it.
Must not know: delivery tags, methods, replies.

Invariants: an acknowledged message is gone for good once the session next writes (a crash before
means a redelivery, which AMQP allows); a requeued one is in the hay at its old place, marked
redelivered, before its landing slot is freed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from haypile.broker import message
from haypile.broker.source import REDELIVERED

if TYPE_CHECKING:
    from haypile.broker.channel import Unacked
    from haypile.broker.holdings import Moving
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

#: Acknowledgements gathered before they are written, at most.
ACK_BATCH = 64


def ack(session: Session, messages: Iterable[Unacked]) -> None:
    """Forget ``messages``."""
    for one in messages:
        if one.slot >= 0:
            session.holdings.free_slot(one.slot)
        elif one.number:
            session.holdings.acked.append(one.number)
    if len(session.holdings.acked) >= ACK_BATCH:
        session.holdings.flush_acks()


def reject(session: Session, messages: Iterable[Unacked]) -> None:
    """Messages refused for good: forgotten, or dead-lettered where the queue says so."""
    ack(session, messages)


def requeue(session: Session, messages: Iterable[Unacked], *, count: bool = True) -> None:
    """Put ``messages`` back where they were, marked redelivered.

    ``count``: the delivery counts as a failed one (a quorum queue's x-delivery-limit).
    """
    messages = list(messages)
    if not messages:
        return
    with session.holdings.write() as moving:
        touched = put_back(session, moving, messages, count)
    for handle in touched:
        session.wake(handle)


def put_back(session: Session, moving: Moving, messages: list[Unacked], count: bool) -> list[QueueHandle]:
    """The transaction part of ``requeue``; returns the queues to wake after the commit."""
    session.vhost.topology.sync(moving.txn)
    touched: dict[int, QueueHandle] = {}
    for one in messages:
        handle = one.handle
        gone = handle.queue.deleted
        if one.slot >= 0:
            if gone:
                session.holdings.free_slot(one.slot)
                continue
            order = one.order or message.order_of(one.record)
            moving.move(one.slot)
            moving.txn.put(
                handle.id,
                order,
                one.record,
                flags=REDELIVERED,
                deliveries=one.deliveries + (1 if count else 0),
            )
        elif one.number:
            if gone:
                moving.txn.drop(session.id, (one.number,))
                continue
            moving.txn.restore(
                session.id, one.number, flags=REDELIVERED, deliveries=one.deliveries + (1 if count else 0)
            )
        else:
            continue
        touched[handle.id] = handle
    for handle in touched.values():
        handle.close_gate()
    return list(touched.values())

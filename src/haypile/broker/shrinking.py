"""Deleting and giving back very many messages, piece by piece, where the loop has other work.

Owns: how much is done before the loop has its turn.
Must not know: replies, methods.

Only for sessions that are ``sliced``. Between two pieces others see a queue that gets shorter; whoever is killed there
leaves it so, and has had no answer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from haypile.broker import lifecycle, settle
from haypile.broker.errors import AMQPError, Scope
from haypile.broker.pressure import Unfinished

if TYPE_CHECKING:
    from haypile.broker.consumer import Consumer
    from haypile.broker.entities import Queue
    from haypile.broker.session import Session
    from haypile.hay.txn import WriteTxn

#: Messages deleted in one piece.
SLICE = 300


def empty(session: Session, queue: Queue, left: int, then: Callable[[int], None], gone: int = 0) -> None:
    """Delete the first ``left`` messages of ``queue``, then call ``then`` with how many there were.

    Raises ``Unfinished``, always.
    """

    def go_on() -> None:
        with session.holdings.write() as moving:
            session.vhost.topology.sync(moving.txn)
            number = 0 if queue.deleted else moving.txn.purge(queue.id, min(left, SLICE))
        if number and left > number:
            empty(session, queue, left - number, then, gone + number)
        then(gone + number)

    raise Unfinished(go_on)


def shorten(session: Session, txn: WriteTxn, queue: Queue) -> bool:
    """Before ``queue`` is deleted: whether it is short; if not, it becomes shorter."""
    if not session.sliced or txn.count(queue.id)[0] <= SLICE:
        return True
    txn.purge(queue.id, SLICE)
    return False


def part_from(session: Session, consumers: Iterable[Consumer]) -> None:
    """Before ``consumers`` end: auto-delete queues that go with them are made short.

    Raises ``Unfinished`` while one of them is long. Once begun, the queue is sure to go: who comes to it meanwhile
    is told so, as when somebody deletes it.
    """
    if not session.sliced:
        return
    session.vhost.topology.sync()
    leaving = list(consumers)
    keys = {consumer.key for consumer in leaving}
    for consumer in leaving:
        handle, queue = consumer.source.handle, consumer.source.queue
        if queue.deleted or not queue.auto_delete or not (handle.doomed or queue.consumers.keys() <= keys):
            continue
        if session.vhost.hay.count_now(queue.id) > SLICE:
            handle.doomed = True
            consumer.source.remove(consumer)  # it is given nothing more
            with session.holdings.write() as moving:
                session.vhost.topology.sync(moving.txn)
                if not queue.deleted:
                    moving.txn.purge(queue.id, SLICE)
            raise Unfinished


def fail(session: Session, number: int, method: Any, error: AMQPError) -> None:
    """``lifecycle.fail``, when the auto-delete queues that go with it are short; what the client sends next waits."""
    channel = session.channels.get(number) if error.scope is Scope.CHANNEL else None
    channels = list(session.channels.values()) if channel is None else [channel]
    try:
        part_from(session, [consumer for one in channels for consumer in one.consumers.values()])
    except Unfinished:
        session.pressure.go_on(functools.partial(fail, session, number, method, error))
    else:
        lifecycle.fail(session, number, method, error)


def give_back(session: Session) -> None:
    """Before the session ends: what it holds is made little. Raises ``Unfinished`` while it is much."""
    part_from(session, [one for channel in session.channels.values() for one in channel.consumers.values()])
    if sum(len(channel.unacked) for channel in session.channels.values()) > settle.SLICE:
        for channel in session.channels.values():
            lifecycle.release(session, channel)
    if session.holdings.returning:
        with contextlib.suppress(Unfinished):
            settle.go_on(session)
        raise Unfinished
    if len(session.holdings.acked) > SLICE:
        session.holdings.flush_acks()
        raise Unfinished
    for queue in list(session.vhost.topology.by_id.values()):
        if queue.exclusive_owner == session.id and session.vhost.hay.count_now(queue.id) > SLICE:
            with session.holdings.write() as moving:
                session.vhost.topology.sync(moving.txn)
                short = queue.deleted or shorten(session, moving.txn, queue)
            if not short:
                raise Unfinished

"""Taking messages of one queue out of the store: a backlog, and whatever no lane takes.

Owns: how many heads of the hay a consumer gets at once, and the one transaction in which it gets them.
Must not know: lanes but by ``Moving.drain``, AMQP replies, how a message reaches pika.

Invariants:
- What is in the lane was published later than what is in the hay, so it joins the hay before a head is taken.
- The gate opens with the commit that leaves nothing in the hay, and not before.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from haypile.broker.bodies import is_apart
from haypile.broker.enqueue import Arrivals
from haypile.broker.lanekeeping import refit
from haypile.broker.message import HEADER_SIZE, order_of
from haypile.broker.queue import DRAINED
from haypile.broker.taken import REDELIVERED, Taken
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.gates import CONSUMERS
from haypile.hay.layout import entry_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haypile.broker.holdings import Moving
    from haypile.broker.queue import QueueHandle
    from haypile.broker.source import Source
    from haypile.broker.taken import Fresh, Landed
    from haypile.hay.txn import WriteTxn

#: Messages a lone consumer takes at once, and bytes: more would not stay in the processor's cache. With neighbours
#: it takes one at a time: a batch in hand cannot be shared any more (RabbitMQ deals messages out round-robin).
BATCH, BATCH_BYTES = 64, 1 << 20
#: From the hay, where each time is a transaction; but no loop is to wait so long for its other work.
BACKLOG = 256
PLENTY = 32  # in the store: more need not be waited for
LOOK_BACK = 256  # messages, for those that one just received has overtaken
_new_tuple = tuple.__new__  # half the time of calling a NamedTuple


def serve(source: Source, budget: int, no_ack: bool) -> Sequence[Taken | Fresh]:
    """One transaction: what is in the lane joins the hay, and the heads come out of it."""
    session, handle, holdings = source.session, source.handle, source.session.holdings
    if source.follow() is None and not handle.queue.deleted and not session.vhost.hay.count_now(handle.id):
        source.idle = True
        return []
    with holdings.write(taking=True) as moving:
        txn = moving.txn
        session.vhost.topology.sync(txn)
        if source.queue.deleted:
            source.idle = True
            return []
        if not moving.drain(handle):
            return []
        moving.write_acks()
        got, arrivals = _heads(source, txn, _share(source, txn, budget), no_ack)
        refitted = refit(moving, handle, got)
        left = txn.count(handle.id)[0]
        holdings.scant = left + len(got) < PLENTY
        if not left and not refitted:
            txn.on_commit.append(handle.open_gate)
    if arrivals is not None:
        session.wake_all(arrivals)
    if left:
        if handle.lane is not None:
            handle.leave_token()
    elif handle.lane is None:
        source.idle = not got
    return got


def _share(source: Source, txn: WriteTxn, budget: int) -> int:
    """How many messages to take from the hay: with neighbours, a fair part of what waits.

    Half an equal share each time: large steps while much waits, single ones towards the end.
    """
    neighbours = source.handle.words[source.handle.base + CONSUMERS]
    consumer = source.consumers[0]
    if budget == BATCH and consumer.no_ack and not source.session.sliced:
        return BACKLOG
    if neighbours < 2:
        return budget or 1
    if len(source.consumers) != 1 or source.queue.args.max_priority:
        return 1
    part = txn.count(source.handle.id)[0] // (2 * neighbours)
    return max(1, min(part, BATCH, consumer.credit()))


def _heads(source: Source, txn: WriteTxn, budget: int, no_ack: bool) -> tuple[list[Any], Arrivals | None]:
    """Take messages off the head of the hay, after those that have expired; those that are ``Fresh`` as such."""
    handle = source.handle
    arrivals = None
    if handle.expiring:
        arrivals = Arrivals(source.session, txn)
        arrivals.expire(handle)
    if no_ack:
        got: list[Any] = txn.take_records(handle.id, budget, BATCH_BYTES)
        if not got:  # it has been delivered before, or there is none
            got = [_taken_for_good(handle.id, *row) for row in txn.take_rows(handle.id, budget, BATCH_BYTES)]
    else:
        got = _hold(source, txn, budget)
    if arrivals is not None:
        source.session.due.note_head(txn, handle)
    return got, arrivals


def _hold(source: Source, txn: WriteTxn, budget: int) -> list[Taken]:
    """Move heads of the hay to our taken list."""
    holdings = source.session.holdings
    number = holdings.next_number
    entries = txn.hold(source.handle.id, budget, source.session.id, number, BATCH_BYTES)
    holdings.next_number += len(entries)
    return [
        _new_tuple(Taken, (record, bool(entry.flags & REDELIVERED), -1, number + i, entry.order, entry.deliveries))
        for i, (entry, record) in enumerate(entries)
    ]


def join(source: Source, fresh: list[Any], landed: list[Landed]) -> list[Taken]:
    """Of what was received while somebody drained the lane, put into the hay what would overtake.

    That is what has before it in the hay something that its publisher sent earlier. It is taken out of ``fresh`` or
    ``landed``; the rest is given out as it came, since what was sent after it may have been given out already. Where
    the hay is not to be had now, all of it is returned, as coming again: those come in another order in RabbitMQ, too.
    """
    session, handle, holdings = source.session, source.handle, source.session.holdings
    later: list[Any] = []
    try:
        with holdings.write() as moving:
            session.vhost.topology.sync(moving.txn)
            if handle.queue.deleted:
                return []
            records = fresh or [record for _, record in landed]
            later = _later(moving.txn, handle.id, session.nonce, records)
            for place in later:
                if landed:
                    moving.store(handle, landed[place][0])
                else:
                    _put(moving, handle, fresh[place])
            if later:
                handle.words[handle.base] = DRAINED
    except (Busy, OutOfRoom):
        holdings.unstrand(handle, [landed[place] for place in later if landed])
        numbered = landed or [(-1, record) for record in fresh]
        return [Taken(record, True, slot, 0, b"", 0) for slot, record in numbered]
    for place in reversed(later):
        del (fresh or landed)[place]
    return []


def join_one(source: Source, record: bytes) -> bool:
    """``join`` for a single one, which cannot be marked: whether it is to be given out."""
    fresh = [record]
    join(source, fresh, [])
    return bool(fresh)


def _put(moving: Moving, handle: QueueHandle, record: bytes) -> None:
    """Put ``record`` into the hay, which is in our hands and nowhere else."""
    bodies = moving.holdings.session.bodies
    if is_apart(record, bodies.nonce):
        moving.txn.on_commit.append(functools.partial(bodies.give_back, record))
        record = bodies.whole_or_nothing(record)
    if record:
        moving.put(handle, record)


def _later(txn: WriteTxn, queue: int, nonce: bytes, records: Sequence[bytes]) -> list[int]:
    """Places of those ``records`` that have something of their publisher before them in the hay, never given out."""
    orders = [order_of(one) if one.startswith(nonce) and len(one) >= HEADER_SIZE else b"" for one in records]
    newest = max(orders)
    first: dict[bytes, bytes] = {}
    entries = txn.entries(queue, LOOK_BACK)
    for entry in entries:
        if entry.order >= newest:
            break
        if not entry.flags & REDELIVERED:
            first.setdefault(entry.order[-4:], entry.order)
    # Behind as many as that it is not known; but who was given something younger was given all of these before.
    unknown = entries[0].order if len(entries) == LOOK_BACK and entries[-1].order < newest else newest
    return [place for place, order in enumerate(orders) if order and first.get(order[-4:], unknown) < order]


def get(source: Source, no_ack: bool) -> tuple[Taken | None, int]:
    """One message for basic.get, and how many are left."""
    session, handle = source.session, source.handle
    session.due.used(handle)
    stored = session.vhost.hay.count_now
    # In this order: what is gathered meanwhile is in the store by then.
    if not source.depth() and not session.swaths.has(handle) and not stored(handle.id):
        return None, 0
    if handle.foreign and not stored(handle.id):
        return handle.get(no_ack), handle.outside()
    session.holdings.make_way(handle)
    with session.holdings.write() as moving:
        txn = moving.txn
        session.vhost.topology.sync(txn)
        moving.drain(handle)
        moving.write_acks()
        got, arrivals = _heads(source, txn, 1, no_ack)
        left = txn.count(handle.id)[0]
    if arrivals is not None:
        session.wake_all(arrivals)
    session.settle_gate(handle, left)
    one = got[0] if got else None
    return (Taken(one, False, -1, 0, b"", 0) if isinstance(one, bytes) else one), left + handle.outside()


def _taken_for_good(queue: int, key: bytes, value: bytes, record: bytes) -> Taken:
    """The message of a row that is not in the hay any more (``WriteTxn.take_rows``)."""
    entry = entry_of(queue, key[5:], value)
    return Taken(record, bool(entry.flags & REDELIVERED), -1, 0, entry.order, entry.deliveries)

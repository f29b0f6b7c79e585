"""The short way of a message without properties to a single queue, and of an ack.

Owns: what may be left out when the same exchange and routing key are published to again and again.
Must not know: pika, replies: where there may be one, the long way (``handlers.publish``) is taken.

A way is found after a publish took the long one, and holds while nothing it rests on has changed: it looks at
the same words and flags as the long way does, at each message, and says False before it has done anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from haypile.broker.channel import Channel, Mode
from haypile.broker.errors import AMQPError
from haypile.broker.foreign import ForeignHandle
from haypile.broker.message import HEADER
from haypile.broker.queue import QueueHandle
from haypile.broker.settle import ACK_BATCH
from haypile.hay.counters import ACKED, MOST, PUBLISHED
from haypile.hay.gates import GENERATION, VERSION
from haypile.lanes import foreign
from haypile.lanes.errors import LaneError

if TYPE_CHECKING:
    from haypile.broker.session import Session

#: Sends a body; False: nothing was done, and this way is at its end.
Way = Callable[[bytes], bool]
#: Acknowledges the message with this delivery tag; False: nothing was done, and the long way is to be taken.
Acker = Callable[[int], bool]

_PLAIN, _TX = Mode.PLAIN, Mode.TX
#: Bytes of a record for whose copies in passing no loop need be quick.
LARGE = 65_536


def find(session: Session, number: int, exchange: str, routing_key: str) -> Way | None:
    """The short way for channel ``number``; None: there is none now."""
    channel = session.channels.get(number)
    publisher = session.publisher
    if channel is None or channel.mode is not _PLAIN or session.closing:
        return None
    topology = publisher.topology
    try:
        handles, prefix, kept = publisher.route(exchange, routing_key, None)
    except AMQPError:
        return None
    if len(handles) != 1 or kept is not None or (exchange, routing_key) not in publisher.routes:
        return None
    handle = handles[0]
    if handle.words[VERSION] != topology.version or (handle.closed and (handle.foreign or not session.sliced)):
        return None
    if handle.foreign:
        return _outside(session, channel, cast(ForeignHandle, handle))
    return _inside(session, channel, handle, prefix) if handle.plain else None


def _inside(session: Session, channel: Channel, handle: QueueHandle, prefix: bytes) -> Way:
    """Into one of our queues: its lane, or, where the loop has other work, the session's batch."""
    publisher, pressure, sliced = session.publisher, session.pressure, session.sliced
    gate, generation = handle.base, handle.base + GENERATION
    version, clock, patience = publisher.topology.version, publisher.clock, publisher.patience
    batch, keep, handles = session.batch.items, session.batch.keep, (handle,)
    pack, nonce, sender, length, offer = HEADER.pack, session.nonce, session.id, len(prefix), handle.offer

    def way(body: bytes) -> bool:
        words = handle.words  # not kept: nobody must hold the page of a session that is over
        if (
            words[VERSION] != version
            or pressure.waiting
            or channel.mode is not _PLAIN
            or channel.closing
            or session.closing
            or ((batch or words[gate]) and not sliced)
        ):
            return False
        now = clock()
        if now <= publisher.last:
            now = publisher.last + 1
        publisher.last = now
        record = b"".join((pack(nonce, now, sender, len(body), 0, length, 0, 0), prefix, body))
        if not batch and offer(record, patience):
            handle.published = published = handle.published + 1
            handle.counts[PUBLISHED] = published
            if words[generation] != handle.generation:
                session.rescue(handle)
            return True
        if not sliced or len(record) > LARGE or not publisher.has_room(record):
            return False
        handle.published = published = handle.published + 1
        handle.counts[PUBLISHED] = published
        keep(None, 0, handles, record, now, 0, None)
        return True

    return way


def _outside(session: Session, channel: Channel, handle: ForeignHandle) -> Way | None:
    """Into a kernel queue of somebody else's."""
    pressure, lane = session.pressure, handle.kernel
    if lane is None:
        return None
    gate, version = handle.base, session.publisher.topology.version
    patience = session.publisher.patience
    number = 0 if lane.kind == foreign.POSIX else 1
    send, send_wait = lane.send, lane.send_wait

    def way(body: bytes) -> bool:
        words = handle.words  # not kept: nobody must hold the page of a session that is over
        if (
            words[gate]
            or words[VERSION] != version
            or pressure.waiting
            or channel.mode is not _PLAIN
            or channel.closing
            or session.closing
            or handle.kernel is not lane
        ):
            return False
        try:
            return send(body, number) or (not handle.own_consumers and send_wait(body, number, patience))
        except LaneError:
            # The long way meets it, too, and says what it is.
            return False

    return way


def acks(session: Session, number: int) -> Acker | None:
    """The short way of acknowledging on channel ``number``; None: there is none now."""
    channel = session.channels.get(number)
    if channel is None or session.closing:
        return None
    holdings, pressure, batch, soon = session.holdings, session.pressure, session.batch.items, session.outbox.soon

    def acknowledge(tag: int) -> bool:
        one = channel.unacked.get(tag)
        if (
            one is None
            # In the store, and this is the ack with which all that wait are written down.
            or (one.slot < 0 and (not one.number or len(holdings.acked) + 1 >= ACK_BATCH))
            or batch
            or pressure.waiting
            or channel.mode is _TX
            or channel.closing
            or session.closing
        ):
            return False
        del channel.unacked[tag]
        channel.uncount(one)
        counts = one.handle.counts
        counts[ACKED] = counts[ACKED] + 1 & MOST
        if one.slot >= 0:
            holdings.free_slot(one.slot)
        else:
            holdings.acked.append(one.number)
        soon()
        return True

    return acknowledge

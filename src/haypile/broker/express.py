"""The short way of a message to its queues, and of an ack.

Owns: what may be left out when the same exchange and routing key are published to again and again.
Must not know: pika's calls, replies: where there may be one, the long way (``handlers.publish``) is taken.

A way is found after a publish took the long one, and holds while nothing it rests on has changed: it looks at
the same words and flags as the long way does, at each message, and says False before it has done anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pika.spec import BasicProperties

from haypile.broker import aging, message
from haypile.broker.channel import Channel, Mode
from haypile.broker.errors import AMQPError
from haypile.broker.foreign import ForeignHandle
from haypile.broker.handlers import reply_to
from haypile.broker.handlers.publish import confirm
from haypile.broker.message import AGING, HEADER, PERSISTENT
from haypile.broker.pressure import Rest
from haypile.broker.properties import check
from haypile.broker.queue import QueueHandle
from haypile.broker.settle import ACK_BATCH
from haypile.hay.counters import ACKED, MOST, PUBLISHED
from haypile.hay.errors import OutOfRoom
from haypile.hay.gates import DISK_ALARM, GENERATION, VERSION
from haypile.lanes import foreign
from haypile.lanes.errors import LaneError

if TYPE_CHECKING:
    from haypile.broker.session import Session

#: Sends a body with properties; None: nothing was done, it is to go the long way; False: and so are all others from
#: now on.
Way = Callable[[bytes, BasicProperties | None], bool | None]
#: Acknowledges the message with this delivery tag; False: nothing was done, and the long way is to be taken.
Acker = Callable[[int], bool]

_PLAIN, _CONFIRM, _TX = Mode.PLAIN, Mode.CONFIRM, Mode.TX
#: Bytes of a record that needs no look at its size, and whose copies in passing cost no loop much; of properties that
#: are remembered.
LARGE, LONG = 65_536, 1024

#: Of properties whose meaning for the broker is known by their values alone: as bytes, priority, record flags,
#: expiration. None: of others.
_Plain = tuple[bytes, int, int, str | None]
_known: dict[tuple[Any, ...], _Plain | None] = {}
_NONE: _Plain = (b"", 0, 0, None)


def plain(properties: BasicProperties) -> _Plain | None:
    """What is to be known of ``properties``; None: they ask for more than a place and a time, or are wrong."""
    values = properties.__dict__
    if values.get("headers") is not None:
        return None
    key = tuple(values.values())
    try:
        return _known[key]
    except KeyError:
        if len(_known) >= message.CACHE_LIMIT:
            _known.clear()
        found = _known[key] = _looked_at(properties)
        return found
    except TypeError:
        return None


def _looked_at(properties: BasicProperties) -> _Plain | None:
    if properties.user_id is not None or properties.reply_to == reply_to.NAME:
        return None
    try:
        check(properties, "")
        encoded = message.encode_properties(properties)
    except Exception:
        return None  # the long way meets it, too
    flags = PERSISTENT if properties.delivery_mode == 2 else 0
    return (encoded, properties.priority or 0, flags, properties.expiration) if len(encoded) <= LONG else None


def find(session: Session, number: int, exchange: str, routing_key: str) -> Way | None:
    """The short way for channel ``number``; None: there is none now."""
    channel = session.channels.get(number)
    publisher = session.publisher
    if channel is None or session.closing or channel.mode is _TX:
        return None
    topology = publisher.topology
    try:
        handles, prefix, kept = publisher.route(exchange, routing_key, None)
    except AMQPError:
        return None
    if not handles or kept is not None or (exchange, routing_key) not in publisher.routes:
        return None
    if len(handles) > 1:
        return _among(session, channel, handles, prefix)
    handle = handles[0]
    if handle.words[VERSION] != topology.version or (handle.closed and handle.foreign):
        return None
    if channel.mode is _CONFIRM:
        return _lasting(session, channel, handle, prefix) if handle.durable and not handle.foreign else None
    if handle.foreign:
        return _outside(session, channel, cast(ForeignHandle, handle))
    return _inside(session, channel, handle, prefix)


def _inside(session: Session, channel: Channel, handle: QueueHandle, prefix: bytes) -> Way:
    """Into one of our queues: its lane, or else the store, by the session's batch where the loop has other work."""
    publisher, pressure, sliced = session.publisher, session.pressure, session.sliced
    store, generation = publisher.store_one, handle.base + GENERATION
    version, clock, patience = publisher.topology.version, publisher.clock, publisher.patience
    hay = session.vhost.hay
    batch, keep, handles = session.batch.items, session.batch.keep, (handle,)
    pack, nonce, sender, length = HEADER.pack, session.nonce, session.id, len(prefix)
    # Where rules change, so does the version, and another way is found.
    offer, ages = (functools.partial(aging.offer, handle), AGING) if handle.ages else (handle.offer, 0)
    journaled = publisher.journals if handle.durable else 0
    enroute, hurried = publisher.enroute, publisher.hurried

    def way(body: bytes, properties: BasicProperties | None) -> bool | None:
        asked = _NONE if properties is None else plain(properties)
        if asked is None:
            return None
        encoded, priority, flags, expiration = asked
        words = handle.words  # not kept: nobody must hold the page of a session that is over
        if (
            words[VERSION] != version
            or pressure.waiting
            or channel.mode is not _PLAIN
            or channel.closing
            or session.closing
            or (batch and not sliced)
        ):
            return False
        if flags & journaled and words[DISK_ALARM]:
            return None
        now = clock()
        if now <= publisher.last:
            now = publisher.last + 1
        publisher.last = now
        header = pack(nonce, now, sender, len(body), len(encoded), length, priority, flags | ages)
        record = b"".join((header, prefix, encoded, body))
        try:
            if not (batch or expiration) and offer(record, hurried if flags & journaled else patience):
                handle.published = published = handle.published + 1
                handle.counts[PUBLISHED] = published
                if words[generation] != handle.generation:
                    session.rescue(handle)
                elif flags & journaled and (handle is not enroute.last or now >= enroute.due):
                    enroute.sent(handle, now)
                return True
            if not sliced:
                if len(record) > LARGE or store(handle, record, now, priority, expiration) is None:
                    return None
                return True
        except BaseException:
            hay.let_go()
            raise
        if len(record) > LARGE or not publisher.has_room(record):
            return False
        handle.published = published = handle.published + 1
        handle.counts[PUBLISHED] = published
        keep(None, 0, handles, record, now, priority, expiration)
        return True

    return way


def _among(session: Session, channel: Channel, handles: tuple[QueueHandle, ...], prefix: bytes) -> Way | None:
    """Into several of our queues: their lanes, and the rest by the store, all of it together."""
    publisher, pressure, sliced = session.publisher, session.pressure, session.sliced
    first, topology = handles[0], publisher.topology
    if channel.mode is not _PLAIN or first.words[VERSION] != topology.version or any(one.foreign for one in handles):
        return None
    version, clock, patience, hay = topology.version, publisher.clock, publisher.patience, session.vhost.hay
    send, store, batch, keep = publisher.send, publisher.store, session.batch.items, session.batch.keep
    pack, nonce, sender, length = HEADER.pack, session.nonce, session.id, len(prefix)
    # Where rules change, so does the version, and another way is found.
    ages = AGING if any(one.ages for one in handles) else 0
    journaled = publisher.journals if any(one.durable for one in handles) else 0

    def way(body: bytes, properties: BasicProperties | None) -> bool | None:
        asked = _NONE if properties is None else plain(properties)
        if asked is None:
            return None
        encoded, priority, flags, expiration = asked
        if (
            first.words[VERSION] != version  # not kept: nobody must hold the page of a session that is over
            or pressure.waiting
            or channel.mode is not _PLAIN
            or channel.closing
            or session.closing
        ):
            return False
        if batch or expiration or flags & journaled or len(body) > LARGE:
            return None
        now = clock()
        if now <= publisher.last:
            now = publisher.last + 1
        publisher.last = now
        header = pack(nonce, now, sender, len(body), len(encoded), length, priority, flags | ages)
        record = b"".join((header, prefix, encoded, body))
        try:
            rest = send(handles, record, patience)
            if not rest:
                return True
            if sliced and not pressure.waiting and publisher.has_room(record):
                keep(None, 0, tuple(rest), record, now, priority, None)
            else:
                # Behind what was sent into lanes that were retired meanwhile (``Homing``).
                again = functools.partial(store, rest, record, now, priority, None)
                session.handle(channel.number, Rest(again, None), None, b"")
        except BaseException:
            hay.let_go()
            raise
        return True

    return way


def _lasting(session: Session, channel: Channel, handle: QueueHandle, prefix: bytes) -> Way:
    """Persistent, with a confirm, into a durable queue of ours: the store, by the batch as in ``_inside``."""
    publisher, pressure, journaling, sliced = session.publisher, session.pressure, session.journaling, session.sliced
    version, clock, hay = publisher.topology.version, publisher.clock, session.vhost.hay
    batch, gates, handles = session.batch, hay.gates, (handle,)
    keep, items, store = batch.keep, batch.items, publisher.store_one
    pack, nonce, sender, length = HEADER.pack, session.nonce, session.id, len(prefix)
    journals = publisher.journals

    def way(body: bytes, properties: BasicProperties | None) -> bool | None:
        asked = _NONE if properties is None else plain(properties)
        if asked is None or not asked[2] & journals or len(body) > LARGE:
            return None
        encoded, priority, flags, expiration = asked
        words = handle.words  # not kept: nobody must hold the page of a session that is over
        if (
            words[VERSION] != version
            or words[DISK_ALARM]
            or (pressure.waiting and not (sliced and batch.grows()))
            or (not sliced and (items or journaling.waiting))
            or channel.mode is not _CONFIRM
            or channel.closing
            or session.closing
        ):
            return False
        now, due = clock(), gates.due
        if due and due <= now:
            return None
        if now <= publisher.last:
            now = publisher.last + 1
        publisher.last = now
        header = pack(nonce, now, sender, len(body), len(encoded), length, priority, flags)
        record = b"".join((header, prefix, encoded, body))
        accepted: bool | None = True
        try:
            if sliced:
                hay.admit(len(record), bool(items))
            else:
                accepted = store(handle, record, now, priority, expiration)
        except OutOfRoom:
            return None
        except BaseException:
            hay.let_go()
            raise
        if accepted is None:
            return None
        channel.publish_tag = tag = channel.publish_tag + 1
        if not sliced:
            confirm(session, channel, tag, accepted)
            return True
        handle.published = published = handle.published + 1
        handle.counts[PUBLISHED] = published
        keep(channel, tag, handles, record, now, priority, expiration)
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

    def way(body: bytes, properties: BasicProperties | None) -> bool | None:
        if properties is not None:
            return None
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
    slots, apart = holdings.slots, holdings.apart

    def acknowledge(tag: int) -> bool:
        unacked = channel.unacked
        one = unacked.get(tag)
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
        del unacked[tag]
        consumer = one.consumer
        # ``Channel.uncount``, ``Source.stir`` and ``Holdings.free_slot``, whose calls cost as much as they do.
        if consumer is not None:
            consumer.unacked -= 1
            channel.consumers_unacked -= 1
            source = consumer.source
            source.idle = False
            if source.blocked:
                source.stir()
        counts, slot = one.handle.counts, one.slot
        counts[ACKED] = counts[ACKED] + 1 & MOST
        if slot in apart:
            holdings.free_slot(slot)
        elif slot >= 0:
            slots.pop(slot, None)
            holdings.landing.clear(slot)
        else:
            holdings.acked.append(one.number)
        soon()
        return True

    return acknowledge

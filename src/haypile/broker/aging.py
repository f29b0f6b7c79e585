"""Messages that expire, in lanes: queues with a message TTL.

Owns: when such a queue's lane may be used, the look into it, and when a message that comes out of it expires.
Must not know: the rows by which somebody looks (``due``), what happens to who has expired (``enqueue``).

A lane cannot be looked through, and nobody may look at all: whoever published may be killed, and the consumer may be in
a callback. So a row must say beforehand that somebody will look.

Invariant: a lane is used only while a look at the queue is due before any message in it expires. The look clears the
word that tells of it and brings what it finds in the lane into the hay, where each expires at its time. The first
message after it goes by way of the hay, as all do without a lane, and so makes the next row: one detour for each TTL. A
publisher reads the word again after each send, as it does with the lane's generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.message import AGING, FLAGS_AT, HEADER
from haypile.broker.queue import EXPIRING, MS, NO_LOOK, depth_of

if TYPE_CHECKING:
    from haypile.broker.enqueue import Arrivals
    from haypile.broker.holdings import Moving
    from haypile.broker.queue import QueueHandle


def offer(handle: QueueHandle, record: bytes, patience: float) -> bool:
    """``QueueHandle.offer`` where messages expire (``ages``): False, too, while no look is due early enough."""
    words, at = handle.words, handle.base + EXPIRING
    look, now = words[at], handle.vhost.clock.now()
    if not now < look <= now + handle.ages or not handle.offer(record, patience):
        return False
    if words[at] != look:
        # The look may have been before our message. As if the lane were retired: the caller brings it home.
        handle.generation = -1
    return True


def is_overdue(handle: QueueHandle) -> bool:
    """Whether a look at the queue is late: what is in the lane may have expired."""
    return NO_LOOK < handle.words[handle.base + EXPIRING] <= handle.vhost.clock.now()


def expires_of(handle: QueueHandle, record: bytes) -> int:
    """When the message in ``record`` expires, which came through the queue's lane, ns; 0: never."""
    ttl = handle.rules.message_ttl
    if ttl is None or not record[FLAGS_AT] & AGING:
        return 0
    return int(HEADER.unpack_from(record)[1]) + ttl * MS


def look(moving: Moving, arrivals: Arrivals, handle: QueueHandle) -> bool:
    """What waits in the queue's lane goes into the hay; False: not all of it. Under the write lock.

    After the word was cleared: what is sent from now on is brought home by its publisher.
    """
    if handle.current_lane() is None or not depth_of(handle):
        return True
    arrivals.touch(handle)
    return moving.drain(handle)

"""The lane of a queue: made, made anew, removed.

Owns: when a queue has a lane, which exists only while the queue has consumers (kernel room is scarce).
Must not know: consumers' rows, deliveries; how large a lane may be (``lanes.limits``).

A queue gets a lane in the transaction that registers its first consumer; its gate opens after
that commit if the hay holds nothing for the queue. The last consumer to leave closes the gate,
moves on the lane generation, drains the lane into the hay, and unlinks it after the commit. A
publisher whose message went in after the drain sees the moved generation and brings it home.

The kernel may have no room for a lane, or for a small one only: what a removed lane takes is free when the last
process has closed it, and a publisher does that when it publishes to that queue again. So who takes messages out of
the hay asks again, from time to time; a better lane takes the old one's place in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from haypile.broker.declare import queue as queues
from haypile.broker.rows import LaneRow
from haypile.broker.taken import Taken
from haypile.lanes.errors import LaneGone
from haypile.lanes.lane import Lane
from haypile.lanes.limits import SIZES

if TYPE_CHECKING:
    from haypile.broker.declare.context import Context
    from haypile.broker.holdings import Moving
    from haypile.broker.queue import QueueHandle
    from haypile.broker.taken import Fresh

#: Messages of a lane that nothing better is sought for; no lane takes longer ones.
FULL, LONGEST = SIZES[0]


def make_lane(moving: Moving, context: Context, handle: QueueHandle, least: tuple[int, int] | None = None) -> bool:
    """Give the queue a lane, if the kernel has room for one, in place of the one it has; whether it did.

    ``least``: how many messages it must hold, of how many bytes; None: any lane is better than none.
    """
    session, queue = moving.holdings.session, handle.queue
    vhost = session.vhost
    moving.made = True
    lane = vhost.make_lane(f"haypile-{session.nonce.hex()}-{handle.id:x}", least)
    if lane is not None and queue.lane is not None and not retire_lane(moving, context, handle):
        lane.close()
        vhost.unlink_lane(lane.name)
        lane = None
    vhost.asking.done(vhost.clock.monotonic(), got=lane is not None)
    if lane is None:
        return False
    # Whoever is killed after the commit leaves an odd generation: others see that there is a lane.
    handle.begin_change()
    queues.set_lane(context, queue, LaneRow(lane.name, lane.maxmsg, lane.msgsize))
    lane.close()

    def appear() -> None:
        handle.end_change()
        if not vhost.hay.count_now(handle.id):
            handle.open_gate()
        # They may sleep on a lane that is gone, or on none.
        session.ring({key[0] for key in queue.consumers})

    context.txn.on_commit.append(appear)
    return True


def refit(moving: Moving, handle: QueueHandle, got: Sequence[Taken | Fresh]) -> bool:
    """The hay had messages of the queue (``got``): see whether its lane should be, and can be, a better one.

    Whether the queue has another lane once this commits: then its gate is opened, too, if that may be. A change that
    was not finished is, first.
    """
    if handle.changing:
        handle.mend(moving.txn)
        return False
    session = moving.holdings.session
    vhost, row = session.vhost, handle.queue.lane
    now = vhost.clock.monotonic()
    if now < vhost.asking.due or not handle.lanes:
        return False
    if row is None:
        return make_lane(moving, session.context(moving), handle)
    lengths = [len(one.record if isinstance(one, Taken) else one) for one in got]
    longest = max((length for length in lengths if length <= LONGEST), default=0)
    if row.maxmsg >= FULL and row.msgsize >= longest:
        vhost.asking.done(now, got=True)
        return False
    return make_lane(moving, session.context(moving), handle, (max(row.maxmsg, FULL), max(row.msgsize, longest)))


def settle_lane(moving: Moving, context: Context, handle: QueueHandle) -> None:
    """Without consumers the queue needs no lane: bring home what is in it and unlink it."""
    if not handle.queue.consumers and handle.queue.lane is not None and not handle.queue.deleted:
        retire_lane(moving, context, handle)


def retire_lane(moving: Moving, context: Context, handle: QueueHandle) -> bool:
    """Bring home what is in the queue's lane and unlink it; False: it stays."""
    session = moving.holdings.session
    row = handle.queue.lane
    handle.close_gate()
    handle.begin_change()
    lane = handle.current_lane()
    # A lane that cannot be opened (no descriptor is left) stays for the next one, with its gate closed.
    stays = lane is None and row is not None and session.vhost.lanes.is_there(row.name)
    # One that another member of the group made cannot be removed by us: empty, it waits for the next consumer.
    if stays or (lane is not None and not (empty(moving, handle, lane) and is_ours(lane))):
        handle.keep_lane(lane)
        context.txn.on_commit.append(handle.end_change)
        return False
    queues.set_lane(context, handle.queue, None)
    context.txn.on_commit.append(handle.end_change)
    if row is not None:
        context.txn.on_commit.append(lambda: session.vhost.unlink_lane(row.name))
    return True


def is_ours(lane: Lane) -> bool:
    """Whether we may remove it; or whether it is gone."""
    try:
        return lane.ours
    except LaneGone:
        return True


def empty(moving: Moving, handle: QueueHandle, lane: Lane) -> bool:
    """Bring home what is in ``lane``, into which nothing is sent any more; False: not all of it.

    Messages beyond what the slots hold can only be of a great many publishers that were about to send
    (``Holdings.make_way`` came before). Then the lane stays, with its gate closed, for the next one.
    """
    try:
        lane.seal()
    except LaneGone:
        return True
    return moving.drain(handle, lane)

"""Starting and stopping consumers, and with them the lanes of queues.

Owns: basic.consume's and basic.cancel's effect on a queue: its consumer rows, and its lane, which
exists only while the queue has consumers (kernel room is scarce).
Must not know: prefetch, deliveries, replies.

A queue gets a lane in the transaction that registers its first consumer; its gate opens after
that commit if the hay holds nothing for the queue. The last consumer to leave closes the gate,
moves on the lane generation, drains the lane into the hay, and unlinks it after the commit. A
publisher whose message went in after the drain sees the moved generation and brings it home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker import texts
from haypile.broker.consumer import Consumer
from haypile.broker.declare import consumers as rows
from haypile.broker.declare import queue as queues
from haypile.broker.errors import NotImplementedByBroker
from haypile.broker.rows import LaneRow
from haypile.broker.source import Source
from haypile.lanes.errors import LaneGone
from haypile.lanes.lane import Lane

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
    from haypile.broker.declare.context import Context
    from haypile.broker.holdings import Moving
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session


def start(
    session: Session,
    channel: Channel,
    name: str,
    tag: str,
    *,
    no_ack: bool,
    exclusive: bool,
    arguments: dict[str, object],
) -> Consumer:
    """Register a consumer of queue ``name`` and make it ready to be given messages.

    Raises NotFound, ResourceLocked, AccessRefused (exclusive use) as RabbitMQ does.
    """
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        queue = queues.lookup(context, name)
        if channel.global_limit and queue.args.type == "quorum":
            raise NotImplementedByBroker(texts.no_global_qos(context.queue_text(queue.name)))
        row = rows.add_consumer(
            context,
            queue,
            channel.number,
            tag,
            exclusive=exclusive,
            no_ack=no_ack,
            prefetch=channel.prefetch,
            arguments=arguments,
        )
        handle = session.handle_for(queue)
        if queue.lane is None and handle.plain and not handle.foreign:
            make_lane(moving, context, handle)
        elif handle.changing:
            handle.mend(moving.txn)
    source = session.sources.get(queue.id)
    if source is None:
        source = session.sources[queue.id] = Source(session, handle)
    consumer = Consumer(
        channel,
        source,
        tag,
        no_ack=no_ack,
        exclusive=exclusive,
        limit=channel.prefetch,
        priority=row.priority,
        arguments=arguments,
    )
    source.add(consumer)
    channel.consumers[tag] = consumer
    source.watch()
    return consumer


def stop(session: Session, channel: Channel, consumer: Consumer) -> None:
    """Unregister ``consumer``; what it holds unacked stays unacked (basic.cancel)."""
    channel.consumers.pop(consumer.tag, None)
    source = consumer.source
    source.remove(consumer)
    handle = source.handle
    if not source.consumers:
        source.unwatch()
        session.sources.pop(handle.id, None)
    if handle.queue.deleted:
        return
    if not source.consumers:
        session.holdings.make_way(handle)
    with session.holdings.write() as moving:
        context = session.context(moving)
        rows.remove_consumer(context, handle.queue, consumer.key, doomed=handle.doomed)
        settle_lane(moving, context, handle)
    session.due.used(handle)
    session.notify(context)
    if handle.queue.active is not None:
        # The next in the line of single active consumers must know.
        session.ring({handle.queue.active[0]})
        following = session.sources.get(handle.id)
        if following is not None:
            following.stir()
    if handle.closed:
        session.wake(handle)


def make_lane(moving: Moving, context: Context, handle: QueueHandle) -> None:
    """Give the queue a lane, if the kernel has room for one."""
    session = moving.holdings.session
    vhost = session.vhost
    moving.made = True
    lane = vhost.make_lane(f"haypile-{session.nonce.hex()}-{handle.id:x}")
    if lane is None:
        return
    # Whoever is killed after the commit leaves an odd generation: others see that there is a lane.
    handle.begin_change()
    queues.set_lane(context, handle.queue, LaneRow(lane.name, lane.maxmsg, lane.msgsize))
    lane.close()

    def appear() -> None:
        handle.end_change()
        if not vhost.hay.count_now(handle.id):
            handle.open_gate()

    context.txn.on_commit.append(appear)


def settle_lane(moving: Moving, context: Context, handle: QueueHandle) -> None:
    """Without consumers the queue needs no lane: bring home what is in it and unlink it."""
    if not handle.queue.consumers and handle.queue.lane is not None and not handle.queue.deleted:
        retire_lane(moving, context, handle)


def retire_lane(moving: Moving, context: Context, handle: QueueHandle) -> None:
    """Bring home what is in the queue's lane and unlink it."""
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
        return
    queues.set_lane(context, handle.queue, None)
    context.txn.on_commit.append(handle.end_change)
    if row is not None:
        context.txn.on_commit.append(lambda: session.vhost.unlink_lane(row.name))


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

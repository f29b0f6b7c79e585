"""Starting and stopping consumers.

Owns: basic.consume's and basic.cancel's effect on a queue: its consumer rows, and that it has a lane meanwhile.
Must not know: prefetch, deliveries, replies, how a lane comes and goes (``lanekeeping``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker import texts
from haypile.broker.consumer import Consumer
from haypile.broker.declare import consumers as rows
from haypile.broker.declare import queue as queues
from haypile.broker.errors import NotImplementedByBroker
from haypile.broker.lanekeeping import make_lane, settle_lane
from haypile.broker.source import Source

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
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
        session.swaths.gather(moving.txn, handle, end=True)
        if queue.lane is None and handle.lanes:
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

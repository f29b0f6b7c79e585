"""Consumers as rows, and what ends with them.

Owns: who may consume, the single active consumer, auto-deletion of queues, the end of a session's
rows.
Must not know: delivery, credit, channels as objects.
"""

from __future__ import annotations

from typing import Any

from haypile.broker import rows, texts
from haypile.broker.arguments import check_consumer_arguments
from haypile.broker.declare.context import Context
from haypile.broker.declare.queue import consumers_of, count_consumers, delete_queue
from haypile.broker.entities import Queue
from haypile.broker.errors import AccessRefused
from haypile.broker.rows import ConsumerKey, ConsumerRow


def add_consumer(
    ctx: Context,
    queue: Queue,
    channel: int,
    tag: str,
    *,
    no_ack: bool = False,
    exclusive: bool = False,
    prefetch: int = 0,
    arguments: dict[str, Any] | None = None,
) -> ConsumerRow:
    """Register a consumer of this session.

    ``queue`` came from ``lookup``; the tag is new on its channel. Raises PreconditionFailed (406)
    for arguments, AccessRefused (403) where an exclusive consumer is, or exclusively where others are.
    """
    what = ctx.queue_text(queue.name)
    arguments = arguments or {}
    check_consumer_arguments(what, queue.args.type, arguments)
    single = queue.args.single_active_consumer
    alone = not queue.consumers
    # Quorum queues take no notice of the flag.
    exclusive = exclusive and queue.args.type == "classic"
    if (exclusive and (single or not alone)) or any(row.exclusive for row in queue.consumers.values()):
        raise AccessRefused(texts.exclusive_use(what))
    row = ConsumerRow(
        queue.id,
        ctx.session,
        channel,
        tag,
        ctx.txn.version,
        arguments.get("x-priority", 0),
        prefetch,
        no_ack,
        exclusive,
        arguments,
    )
    ctx.put(rows.consumer_key(queue.id, ctx.session, channel, tag), rows.encode_consumer(row))
    if single and queue.active is None:
        ctx.put(rows.active_key(queue.id), rows.encode_holder(row.key))
    count_consumers(ctx, queue)
    return row


def remove_consumer(ctx: Context, queue: Queue, key: ConsumerKey, *, doomed: bool = False) -> bool:
    """Take a consumer out; False when it was not there.

    An auto-delete queue goes with its last consumer (``doomed``: with this one): it is in ``ctx.deleted`` then.
    """
    if queue.deleted or key not in queue.consumers:
        return False
    ctx.put(rows.consumer_key(queue.id, *key), None)
    if queue.auto_delete and (doomed or not queue.consumers):
        delete_queue(ctx, queue)
        return True
    if queue.active == key:
        following = next_active(queue)
        ctx.put(rows.active_key(queue.id), None if following is None else rows.encode_holder(following))
    count_consumers(ctx, queue)
    return True


def count_all_consumers(ctx: Context) -> None:
    """Set right the numbers of consumers in the gate page: one was killed before it could."""
    for queue in ctx.topology.by_id.values():
        if consumers_of(ctx, queue) != len(queue.consumers):
            count_consumers(ctx, queue)


def mark_blocked(ctx: Context, queue: Queue, key: ConsumerKey, blocked: bool) -> None:
    """Write down that a consumer has no credit (or has it again), where that matters to others."""
    row = queue.consumers.get(key)
    if row is not None and row.blocked != blocked:
        row = row._replace(blocked=blocked)
        ctx.put(rows.consumer_key(queue.id, *key), rows.encode_consumer(row))


def next_active(queue: Queue) -> ConsumerKey | None:
    """Who receives next: the highest priority, and of those the one that has waited longest."""
    if not queue.consumers:
        return None
    return min(queue.consumers.values(), key=lambda row: (-row.priority, row.since)).key


def remove_session(ctx: Context, session: int) -> list[Queue]:
    """Take out all consumers and exclusive queues of ``session``.

    Returns the queues that lost consumers of it and live on; deleted ones are in ``ctx.deleted``.
    """
    topology = ctx.topology
    left: dict[int, Queue] = {}
    for number in sorted(topology.exclusive_to.get(session, ())):
        delete_queue(ctx, topology.by_id[number])
    for number, key in list(topology.consumers_of.get(session, ())):
        queue = topology.by_id.get(number)
        if queue is not None and remove_consumer(ctx, queue, key) and not queue.deleted:
            left[number] = queue
    return list(left.values())

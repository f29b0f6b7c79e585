"""queue.declare, queue.delete, queue.purge, and finding queues for other methods.

Owns: the checks in RabbitMQ's order, server-made names, and what goes with a queue.
Must not know: lanes' kernel side, consumers' delivery.
"""

from __future__ import annotations

import base64

from pika import spec

from haypile.broker import raw, rows, texts
from haypile.broker.arguments import QUEUE_ARGUMENTS, check_equivalent, check_queue_arguments
from haypile.broker.declare.binding import check_access, last_queue, remove_bindings
from haypile.broker.declare.context import Context, check_name, strip
from haypile.broker.declare.exchange import check_exchange_argument, check_same
from haypile.broker.entities import Queue
from haypile.broker.errors import (
    InternalError,
    NotFound,
    NotImplementedByBroker,
    PreconditionFailed,
    ResourceLocked,
)
from haypile.broker.policies import HIDDEN
from haypile.broker.rows import Destination, QueueRow
from haypile.hay import counters
from haypile.hay.gates import CONSUMERS, HEADER_WORDS, SLOT_WORDS
from haypile.hay.gates import QUEUE as QUEUE_WORD
from haypile.hay.places import random_bytes

DEAD_LETTERS = "x-dead-letter-exchange"


def lookup(ctx: Context, name: str | None, *, expand: bool = True) -> Queue:
    """The queue a method names, for this session to use.

    With ``expand`` an empty name is the queue last declared on the channel. Raises NotFound (404),
    ResourceLocked (405) when the queue is exclusive to another connection.
    """
    name = name or (last_queue(ctx) if expand else "")
    queue = ctx.topology.queues.get(name)
    if queue is None:
        raise NotFound(texts.missing(ctx.queue_text(name)))
    check_access(ctx, queue)
    return queue


# -- declaring --------------------------------------------------------------------------------


def queue_declare(ctx: Context, method: spec.Queue.Declare) -> Queue:
    """Carry out queue.declare; sets ``ctx.last_queue``.

    Raises NotFound (404) with passive, ResourceLocked (405), AccessRefused (403) for a reserved
    name, PreconditionFailed (406) for arguments or a declaration that differs.
    """
    name = strip(method.queue or "")
    if method.passive:
        queue = lookup(ctx, name, expand=False)
    else:
        if not name:
            _check_server_named(method.arguments or {})
        if name:
            # Before looking: a server-made name cannot be declared, even where it exists.
            check_name("queue", name)
        existing = ctx.topology.queues.get(name) if name else None
        if existing is None:
            _check_limit(ctx, name or server_name("amq.gen"))
            queue = create(ctx, name or server_name("amq.gen"), method)
        else:
            queue = existing
            _check_equivalent(ctx, queue, method)
    ctx.last_queue = queue.name
    return queue


def _check_limit(ctx: Context, name: str) -> None:
    limit = ctx.topology.policies.limit("max-queues")
    if limit is not None and sum(not one.startswith(HIDDEN) for one in ctx.topology.queues) >= limit:
        raise PreconditionFailed(texts.queue_limit(name, ctx.vhost, limit))


def server_name(prefix: str) -> str:
    """A fresh name as RabbitMQ makes them: ``amq.gen-`` or ``amq.ctag-`` and 16 octets in base64."""
    return f"{prefix}-{base64.urlsafe_b64encode(random_bytes(16)).decode().rstrip('=')}"


def _check_server_named(arguments: dict[str, object]) -> None:
    kind = arguments.get("x-queue-type", "classic")
    if kind not in QUEUE_ARGUMENTS:
        # RabbitMQ looks the type up before it has checked it, and falls over.
        raise InternalError()
    if kind != "classic":
        raise PreconditionFailed(texts.server_named(str(kind)))


def _check_equivalent(ctx: Context, queue: Queue, method: spec.Queue.Declare) -> None:
    what = ctx.queue_text(queue.name)
    if queue.exclusive_owner != (ctx.session if method.exclusive else 0):
        raise ResourceLocked(texts.locked(what))
    check_same("durable", what, bool(method.durable and not method.exclusive), queue.durable)
    check_same("auto_delete", what, method.auto_delete, queue.auto_delete)
    names = (*QUEUE_ARGUMENTS[queue.args.type], raw.KERNEL_QUEUE)
    check_equivalent(what, queue.arguments, method.arguments or {}, names)


def create(ctx: Context, name: str, method: spec.Queue.Declare) -> Queue:
    """A new queue called ``name``, whatever names are reserved. Raises PreconditionFailed."""
    what = ctx.queue_text(name)
    arguments = method.arguments or {}
    check_exchange_argument(DEAD_LETTERS, arguments, what)
    kind = check_queue_arguments(what, arguments)
    raw.check_arguments(what, arguments)
    # An exclusive queue goes with its connection, so RabbitMQ does not call it durable.
    durable = bool(method.durable and not method.exclusive)
    if kind != "classic":
        _check_replicated(what, kind, method, durable)
    number = ctx.txn.next_id("queue")
    gates = ctx.topology.hay.gates
    slot = gates.allocate(ctx.txn)
    gates.words[HEADER_WORDS + SLOT_WORDS * slot + QUEUE_WORD] = number
    row = QueueRow(number, slot, ctx.session if method.exclusive else 0, durable, bool(method.auto_delete), arguments)
    ctx.put(rows.queue_key(name), rows.encode_queue(row))
    return ctx.topology.queues[name]


def _check_replicated(what: str, kind: str, method: spec.Queue.Declare, durable: bool) -> None:
    for wrong, flag in (
        ("auto-delete", method.auto_delete),
        ("exclusive-owner", method.exclusive),
        ("non-durable", not durable),
    ):
        if flag:
            raise PreconditionFailed(texts.invalid_property(wrong, what))
    if kind == "stream":
        raise PreconditionFailed(texts.stream_queue(what))


# -- deleting ---------------------------------------------------------------------------------


def to_delete(ctx: Context, method: spec.Queue.Delete) -> Queue | None:
    """The queue that queue.delete names, which may be deleted; None when it is not there: that is no error.

    Raises ResourceLocked (405), PreconditionFailed (406) with if_unused or if_empty.
    """
    name = strip(method.queue or last_queue(ctx))
    queue = ctx.topology.queues.get(name)
    if queue is None:
        return None
    check_access(ctx, queue)
    if queue.args.type == "quorum":
        for flag, text in ((method.if_unused, "if-unused"), (method.if_empty, "if-empty")):
            if flag:
                raise NotImplementedByBroker(texts.quorum_delete(ctx.queue_text(name), text))
    if method.if_empty and ctx.ready(queue):
        raise PreconditionFailed(texts.not_empty(ctx.queue_text(name)))
    if method.if_unused and queue.consumers:
        raise PreconditionFailed(texts.in_use(ctx.queue_text(name)))
    return queue


def queue_delete(ctx: Context, method: spec.Queue.Delete) -> int:
    """Carry out queue.delete; returns how many ready messages went with it. Raises as ``to_delete``.

    The queue is in ``ctx.deleted`` then.
    """
    queue = to_delete(ctx, method)
    return 0 if queue is None else delete_queue(ctx, queue)


def delete_queue(ctx: Context, queue: Queue) -> int:
    """Delete ``queue`` with everything about it; returns how many ready messages it had.

    It is appended to ``ctx.deleted``: its consumers are to be told, its lane is to be unlinked.
    """
    ready = ctx.ready(queue)
    ctx.txn.purge(queue.id)
    counters.forget(ctx.txn, queue.id)
    # The queue first: so that every process's ``Queue`` keeps the lane and the consumers it had.
    ctx.put(rows.queue_key(queue.name), None)
    ctx.put(rows.lane_key(queue.id), None)
    ctx.put(rows.active_key(queue.id), None)
    for session, channel, tag in queue.consumers:
        ctx.put(rows.consumer_key(queue.id, session, channel, tag), None)
    remove_bindings(ctx, Destination(True, queue.name))
    ctx.topology.hay.gates.free(ctx.txn, queue.slot)
    ctx.deleted.append(queue)
    return ready


def queue_purge(ctx: Context, method: spec.Queue.Purge, most: int | None = None) -> int:
    """Carry out queue.purge, for ``most`` messages; returns how many went. Raises as ``lookup``."""
    queue = lookup(ctx, method.queue)
    ctx.drain(queue)
    return ctx.txn.purge(queue.id, most)


# -- lanes ------------------------------------------------------------------------------------


def set_lane(ctx: Context, queue: Queue, lane: rows.LaneRow | None) -> None:
    """The queue has this lane from now on (None: none)."""
    ctx.put(rows.lane_key(queue.id), None if lane is None else rows.encode_lane(lane))


def consumers_of(ctx: Context, queue: Queue) -> int:
    """The number of consumers in the queue's slot."""
    gates = ctx.topology.hay.gates
    gates.ensure(queue.slot)
    return int(gates.words[HEADER_WORDS + SLOT_WORDS * queue.slot + CONSUMERS])


def count_consumers(ctx: Context, queue: Queue) -> None:
    """Write the number of consumers into the queue's slot, once this is committed."""
    words = ctx.topology.hay.gates.words
    at = HEADER_WORDS + SLOT_WORDS * queue.slot + CONSUMERS

    def store() -> None:
        if not queue.deleted:
            words[at] = len(queue.consumers)

    ctx.txn.on_commit.append(store)

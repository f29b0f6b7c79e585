"""exchange.* and queue.*: each one write transaction and its reply.

Owns: the replies, and what deletions mean for sessions.
Must not know: how rows are written (``declare``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker import aside, shrinking
from haypile.broker.channel import Channel
from haypile.broker.declare import binding, exchange, queue
from haypile.broker.declare.context import Context
from haypile.broker.enqueue import Arrivals
from haypile.broker.errors import AMQPError
from haypile.broker.handlers import reply_to
from haypile.broker.handlers.registry import CHANNEL, Handler, handles

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session


def _simple(operation: Callable[[Context, Any], Any], reply: type) -> Handler:
    """A handler that runs ``operation`` and answers with an empty ``reply``."""

    def handler(session: Session, channel: Channel, method: Any) -> Any:
        with session.holdings.write() as moving:
            context = session.context(moving, channel)
            operation(context, method)
            arrivals = Arrivals(session, moving.txn)
            for new in context.recalling:
                aside.recall(arrivals, new)
        session.notify(context)
        session.wake_all(arrivals)
        return None if getattr(method, "nowait", False) else reply()

    return handler


CHANNEL[spec.Exchange.Declare] = _simple(exchange.exchange_declare, spec.Exchange.DeclareOk)
CHANNEL[spec.Exchange.Delete] = _simple(exchange.exchange_delete, spec.Exchange.DeleteOk)
CHANNEL[spec.Exchange.Bind] = _simple(binding.exchange_bind, spec.Exchange.BindOk)
CHANNEL[spec.Exchange.Unbind] = _simple(binding.exchange_unbind, spec.Exchange.UnbindOk)
CHANNEL[spec.Queue.Bind] = _simple(binding.queue_bind, spec.Queue.BindOk)
CHANNEL[spec.Queue.Unbind] = _simple(binding.queue_unbind, spec.Queue.UnbindOk)


@handles(spec.Queue.Declare)
def queue_declare(
    session: Session, channel: Channel, method: spec.Queue.Declare
) -> spec.Queue.DeclareOk | None:
    """Reply with the exact number of ready messages and of consumers."""
    if (method.queue or "").startswith(reply_to.NAME):
        return reply_to.declare(session, method)
    session.pump()
    session.make_way(method.queue or channel.last_queue)
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        declared = queue.queue_declare(context, method)
        handle = session.handle_for(declared)
        try:
            handle.declare()
        except AMQPError:
            # The transaction is undone, and the queue's number may go to another one.
            session.forget(handle)
            raise
        if handle.unused_until:
            session.due.used(handle)
        else:
            session.due.born(moving.txn, handle)
        ready = moving.count(handle)
        consumers = len(declared.consumers)
    channel.last_queue = context.last_queue
    session.notify(context)
    if handle.closed:
        session.settle_gate(handle, ready)
    outside = handle.outside()
    return None if method.nowait else spec.Queue.DeclareOk(declared.name, ready + outside, consumers)


@handles(spec.Queue.Delete)
def queue_delete(session: Session, channel: Channel, method: spec.Queue.Delete) -> spec.Queue.DeleteOk | None:
    """Reply with the number of ready messages that went with it."""
    session.pump()
    session.make_way(method.queue or channel.last_queue)
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        found = queue.to_delete(context, method)
        count = 0 if found is None else context.ready(found)
        long = session.sliced and count > shrinking.SLICE
        if found is not None and not long:
            queue.delete_queue(context, found)
    if found is not None and long:
        # The rest of it is sure to follow, whatever others do meanwhile.
        method.queue, method.if_unused, method.if_empty = found.name, False, False
        shrinking.empty(session, found, count, lambda gone: delete_rest(session, channel, method, gone))
    session.notify(context)
    return None if method.nowait else spec.Queue.DeleteOk(count)


def delete_rest(session: Session, channel: Channel, method: spec.Queue.Delete, gone: int) -> None:
    """The queue has been made short, by ``gone`` messages: delete it."""
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        found = queue.to_delete(context, method)
        if found is not None:
            gone += queue.delete_queue(context, found)
    session.notify(context)
    if not method.nowait:
        session.outbox.method(channel.number, spec.Queue.DeleteOk(gone))


@handles(spec.Queue.Purge)
def queue_purge(session: Session, channel: Channel, method: spec.Queue.Purge) -> spec.Queue.PurgeOk | None:
    """Delete the ready messages; unacked ones stay."""
    session.pump()
    session.make_way(method.queue or channel.last_queue)
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        found = queue.lookup(context, method.queue)
        handle = session.handle_for(found)
        most = shrinking.SLICE if session.sliced else None
        count = queue.queue_purge(context, method, most) + handle.purge_outside()
        left = moving.txn.count(found.id)[0]
    if left:
        shrinking.empty(session, found, left, lambda gone: purged(session, channel, method, handle, count + gone))
    session.settle_gate(handle, 0)
    return None if method.nowait else spec.Queue.PurgeOk(count)


def purged(session: Session, channel: Channel, method: spec.Queue.Purge, handle: QueueHandle, count: int) -> None:
    """A long queue has been emptied."""
    if not handle.queue.deleted:
        session.settle_gate(handle, session.vhost.hay.count_now(handle.id))
    if not method.nowait:
        session.outbox.method(channel.number, spec.Queue.PurgeOk(count))

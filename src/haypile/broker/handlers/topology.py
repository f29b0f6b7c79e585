"""exchange.* and queue.*: each one write transaction and its reply.

Owns: the replies, and what deletions mean for sessions.
Must not know: how rows are written (``declare``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker import aside
from haypile.broker.channel import Channel
from haypile.broker.declare import binding, exchange, queue
from haypile.broker.declare.context import Context
from haypile.broker.enqueue import Arrivals
from haypile.broker.errors import AMQPError
from haypile.broker.handlers import reply_to
from haypile.broker.handlers.registry import CHANNEL, Handler, handles

if TYPE_CHECKING:
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
        ready = context.ready(declared)
        consumers = len(declared.consumers)
    channel.last_queue = context.last_queue
    session.notify(context)
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
        count = queue.queue_delete(context, method)
    session.notify(context)
    return None if method.nowait else spec.Queue.DeleteOk(count)


@handles(spec.Queue.Purge)
def queue_purge(session: Session, channel: Channel, method: spec.Queue.Purge) -> spec.Queue.PurgeOk | None:
    """Delete the ready messages; unacked ones stay."""
    session.pump()
    session.make_way(method.queue or channel.last_queue)
    with session.holdings.write() as moving:
        context = session.context(moving, channel)
        found = queue.lookup(context, method.queue)
        handle = session.handle_for(found)
        count = queue.queue_purge(context, method) + handle.purge_outside()
    session.settle_gate(handle, 0)
    return None if method.nowait else spec.Queue.PurgeOk(count)

"""queue.bind, queue.unbind, exchange.bind, exchange.unbind, and what ends with a binding.

Owns: bindings' checks, their rows, auto-deletion of exchanges.
Must not know: how exchange types match.
"""

from __future__ import annotations

from typing import Any

from pika import spec

from haypile.broker import aside, rows, texts
from haypile.broker.declare.context import Context, strip
from haypile.broker.entities import Exchange, Queue
from haypile.broker.errors import AccessRefused, NotFound, ResourceLocked
from haypile.broker.rows import Destination


def queue_bind(ctx: Context, method: spec.Queue.Bind) -> None:
    """Carry out queue.bind.

    An empty queue name is the one last declared on the channel; with an empty routing key too, that
    name is also the key. Raises NotFound (404), AccessRefused (403) for the default exchange,
    ResourceLocked (405) for another connection's queue, PreconditionFailed (406) for arguments.
    """
    name, key = shortcut(ctx, method.queue, method.routing_key)
    _bind(ctx, method.exchange, Destination(True, strip(name)), key, method.arguments)


def queue_unbind(ctx: Context, method: spec.Queue.Unbind) -> None:
    """Carry out queue.unbind; a binding that is not there is no error. Raises as ``queue_bind``."""
    name, key = shortcut(ctx, method.queue, method.routing_key)
    _unbind(ctx, method.exchange, Destination(True, strip(name)), key, method.arguments)


def exchange_bind(ctx: Context, method: spec.Exchange.Bind) -> None:
    """Carry out exchange.bind. Raises as ``queue_bind``."""
    destination = Destination(False, strip(method.destination))
    _bind(ctx, method.source, destination, method.routing_key, method.arguments)


def exchange_unbind(ctx: Context, method: spec.Exchange.Unbind) -> None:
    """Carry out exchange.unbind. Raises as ``queue_bind``."""
    destination = Destination(False, strip(method.destination))
    _unbind(ctx, method.source, destination, method.routing_key, method.arguments)


def shortcut(ctx: Context, queue: str | None, key: str | None) -> tuple[str, str]:
    """Queue and routing key with RabbitMQ's shortcuts expanded. Raises NotFound (404)."""
    if queue:
        return queue, key or ""
    name = last_queue(ctx)
    return name, key or name


def last_queue(ctx: Context) -> str:
    """The queue last declared on the channel. Raises NotFound (404) when there was none."""
    if not ctx.last_queue:
        raise NotFound(texts.NO_PREVIOUS_QUEUE)
    return ctx.last_queue


def _check_named(source: str, destination: Destination) -> None:
    if not source or (not destination.is_queue and not destination.name):
        raise AccessRefused(texts.DEFAULT_EXCHANGE)


def _end(ctx: Context, destination: Destination) -> Exchange | Queue | None:
    topology = ctx.topology
    name = destination.name
    return topology.queues.get(name) if destination.is_queue else topology.exchanges.get(name)


def _bind(
    ctx: Context, source: str, destination: Destination, key: str | None, arguments: dict[str, Any] | None
) -> None:
    source = strip(source)
    _check_named(source, destination)
    exchange, end = ctx.topology.exchanges.get(source), _end(ctx, destination)
    if exchange is None:
        raise NotFound(texts.missing(ctx.exchange_text(source)))
    if end is None:
        what = ctx.queue_text if destination.is_queue else ctx.exchange_text
        raise NotFound(texts.missing(what(destination.name)))
    binding = rows.make_binding(source, destination, key or "", arguments or {})
    exchange.router.check_own_binding(binding.key, binding.arguments)
    if isinstance(end, Queue):
        check_access(ctx, end)
    if binding.id not in exchange.bindings:
        durable = exchange.durable and end.durable
        ctx.put(binding.id, rows.encode_binding(binding, ctx.txn.version, durable))
        if exchange.router.history:
            ctx.recalling.append(binding)


def _unbind(
    ctx: Context, source: str, destination: Destination, key: str | None, arguments: dict[str, Any] | None
) -> None:
    source = strip(source)
    _check_named(source, destination)
    exchange, end = ctx.topology.exchanges.get(source), _end(ctx, destination)
    binding = rows.make_binding(source, destination, key or "", arguments or {})
    if exchange is None or end is None or binding.id not in exchange.bindings:
        return
    if isinstance(end, Queue):
        check_access(ctx, end)
    ctx.put(binding.id, None)
    auto_delete(ctx, source)


def check_access(ctx: Context, queue: Queue) -> None:
    """Raise ResourceLocked (405) when ``queue`` is exclusive to another session."""
    if queue.exclusive_owner and queue.exclusive_owner != ctx.session:
        raise ResourceLocked(texts.locked(ctx.queue_text(queue.name)))


def remove_bindings(ctx: Context, destination: Destination) -> None:
    """Take out all bindings to ``destination``, and the auto-delete exchanges that leaves bare."""
    bindings = list(ctx.topology.bound_to.get(destination, {}).values())
    for binding in bindings:
        ctx.put(binding.id, None)
    for source in sorted({binding.source for binding in bindings}):
        auto_delete(ctx, source)


def auto_delete(ctx: Context, name: str) -> None:
    """A binding from exchange ``name`` went: delete it if it was to go with its last."""
    exchange = ctx.topology.exchanges.get(name)
    if exchange is not None and exchange.auto_delete and not exchange.bindings:
        drop_exchange(ctx, exchange)


def drop_exchange(ctx: Context, exchange: Exchange) -> None:
    """Take out an exchange that has no bindings left, those to it, and what it kept."""
    ctx.put(rows.exchange_key(exchange.name), None)
    if exchange.router.history:
        aside.forget(ctx, exchange.name)
    remove_bindings(ctx, Destination(False, exchange.name))

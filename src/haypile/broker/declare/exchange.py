"""exchange.declare, exchange.delete.

Owns: the checks in RabbitMQ's order, and what goes with an exchange.
Must not know: queues' side of bindings (``binding``).
"""

from __future__ import annotations

from typing import Any

from pika import spec

from haypile.broker import rows, texts
from haypile.broker.arguments import check_equivalent
from haypile.broker.declare.binding import drop_exchange
from haypile.broker.declare.context import Context, check_name, strip
from haypile.broker.entities import Exchange
from haypile.broker.errors import AccessRefused, CommandInvalid, NotFound, PreconditionFailed
from haypile.broker.exchanges import TYPES
from haypile.broker.exchanges.atoms import ATOMS
from haypile.broker.terms import type_name

ALTERNATE = "alternate-exchange"


def exchange_declare(ctx: Context, method: spec.Exchange.Declare) -> None:
    """Carry out exchange.declare.

    Raises CommandInvalid (503, connection) for an unknown type, AccessRefused (403) for a reserved
    name, NotFound (404) with passive, PreconditionFailed (406) for a declaration that differs.
    """
    name = strip(method.exchange)
    if not method.passive:
        _check_type(method.type)
    if not name:
        raise AccessRefused(texts.DEFAULT_EXCHANGE)
    existing = ctx.topology.exchanges.get(name)
    if method.passive:
        if existing is None:
            raise NotFound(texts.missing(ctx.exchange_text(name)))
        return
    arguments = method.arguments or {}
    if existing is not None:
        _check_equivalent(ctx, existing, method, arguments)
        return
    check_name("exchange", name)
    check_exchange_argument(ALTERNATE, arguments, ctx.exchange_text(name))
    TYPES[method.type].check_exchange(ctx.exchange_text(name), arguments)
    row = rows.ExchangeRow(
        method.type, bool(method.durable), bool(method.auto_delete), bool(method.internal), arguments
    )
    ctx.put(rows.exchange_key(name), rows.encode_exchange(row))


def _check_type(name: str) -> None:
    if name not in TYPES:
        text = texts.invalid_exchange_type if name in ATOMS else texts.unknown_exchange_type
        raise CommandInvalid(text(name))


def check_exchange_argument(argument: str, arguments: dict[str, Any], what: str) -> None:
    """Raise PreconditionFailed when an argument that names an exchange is not a string."""
    if argument in arguments and not isinstance(arguments[argument], str):
        raise PreconditionFailed(texts.invalid_type(type_name(arguments[argument]), argument, what))


def _check_equivalent(
    ctx: Context, existing: Exchange, method: spec.Exchange.Declare, arguments: dict[str, Any]
) -> None:
    what = ctx.exchange_text(existing.name)
    check_same("type", what, method.type, existing.type)
    check_same("durable", what, method.durable, existing.durable)
    check_same("auto_delete", what, method.auto_delete, existing.auto_delete)
    check_same("internal", what, method.internal, existing.internal)
    check_equivalent(what, existing.arguments, arguments, existing.router.significant)


def check_same(field: str, what: str, received: Any, current: Any) -> None:
    """Raise PreconditionFailed when a declaration's ``field`` is not what it was."""
    if isinstance(current, bool):
        received = bool(received)
    if received != current:
        raise PreconditionFailed(texts.inequivalent(field, what, _shown(received), _shown(current)))


def _shown(value: Any) -> str:
    return f"'{str(value).lower()}'" if isinstance(value, bool) else f"'{value}'"


def exchange_delete(ctx: Context, method: spec.Exchange.Delete) -> None:
    """Carry out exchange.delete; deleting what is not there succeeds.

    Raises AccessRefused (403) for the broker's own exchanges, PreconditionFailed (406) with
    if_unused.
    """
    name = strip(method.exchange)
    if not name:
        raise AccessRefused(texts.DEFAULT_EXCHANGE)
    if name.startswith("amq."):
        raise AccessRefused(texts.system_exchange(ctx.exchange_text(name)))
    exchange = ctx.topology.exchanges.get(name)
    if exchange is None:
        return
    if method.if_unused and exchange.bindings:
        raise PreconditionFailed(texts.in_use(ctx.exchange_text(name)))
    delete_exchange(ctx, exchange)


def delete_exchange(ctx: Context, exchange: Exchange) -> None:
    """Delete an exchange with all bindings from and to it, and the auto-delete exchanges left bare."""
    outgoing = list(exchange.bindings.values())
    for binding in outgoing:
        ctx.put(binding.id, None)
    drop_exchange(ctx, exchange)

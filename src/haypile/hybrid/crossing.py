"""Bindings from one side to the other: each becomes a link.

Owns: the queue that collects what the source routes, the exchange that hands it on, and the link between them.
Must not know: how links work, tags.

A binding of exchange E to queue Q on the other side is: on E's side a durable queue ``haypile.link.HASH``, bound to
E as Q should have been; on Q's side a fanout exchange of that name, bound to Q, so that routing keys stay; and a
link from the one to the other, kept in the vhost's state, so that it outlives the program.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker.ports import VhostTarget
from haypile.links import parcel, status
from haypile.links.plan import Place, Plan
from haypile.links.runner import Site
from haypile.parameters import URLParameters
from haypile.routes import Routes
from haypile.targets import outright

if TYPE_CHECKING:
    from haypile.hybrid.channel import Channel, Side
    from haypile.hybrid.session import HybridSession

Queue, Exchange = spec.Queue, spec.Exchange


def site(target: VhostTarget, routes: Routes) -> Site:
    """The vhost whose links a hybrid connection needs."""
    local = functools.partial(URLParameters, outright(target), outright=True)
    return Site(target.directory, target.vhost, local, routes.parameters)


def outboxes(routes: Routes) -> list[Plan]:
    """A link for each RabbitMQ that has buffered routes."""
    names = dict.fromkeys(rule.to for rule in routes.rules if rule.buffered and rule.to is not None)
    return [
        Plan(f"outbox {name}", Place(queue=parcel.QUEUE.format(name)), Place(name), hops=False, parcels=True)
        for name in names
    ]


def has_work(where: Site, routes: Routes) -> bool:
    """Whether links may have something to do before this program does anything."""
    return bool(routes.links or outboxes(routes) or status.declared(where.directory))


def bind(session: HybridSession, channel: Channel, method: Any) -> None:
    """A binding or its end, within one side or across."""
    of_queue = isinstance(method, (Queue.Bind, Queue.Unbind))
    source = method.exchange if of_queue else method.source
    there = session.side_of("exchange", source)
    goal = session.queue_side(channel, method.queue) if of_queue else session.side_of("exchange", method.destination)
    if there == goal or not source or (of_queue and not method.queue):
        session.send(channel, goal, method)
    elif isinstance(method, (Queue.Bind, Exchange.Bind)):
        _begin(session, channel, method, there, goal)
    else:
        _end(session, channel, method, there)


def _name(method: Any) -> tuple[str, str, str, str]:
    """The link's name, source exchange, kind and name of the goal."""
    if isinstance(method, (Queue.Bind, Queue.Unbind)):
        source, kind, goal = method.exchange, "queue", method.queue
    else:
        source, kind, goal = method.source, "exchange", method.destination
    digest = hashlib.sha256(json.dumps([source, kind, goal]).encode()).hexdigest()[:16]
    return f"haypile.link.{digest}", source, kind, goal


def _binding(method: Any) -> str:
    """The binding among all that one link serves."""
    return json.dumps([method.routing_key, method.arguments or {}], sort_keys=True, default=str)


def _begin(session: HybridSession, channel: Channel, method: Any, there: Side, goal_side: Side) -> None:
    name, source, kind, goal = _name(method)
    exchange = goal if kind == "exchange" else name
    ends = Place(there, queue=name), Place(goal_side, exchange=exchange)
    plan = Plan(name, *ends, unroutable="drop", bindings=(_binding(method),))
    reply = Queue.BindOk if kind == "queue" else Exchange.BindOk
    left = 2

    def done() -> None:
        nonlocal left
        left -= 1
        if left == 0 and channel.closed_by is False:
            status.declare(session.site.directory, plan)
            session.need_links()
            if session.host is not None:
                session.host.runner.add(plan)
            if not method.nowait:
                session.outbox.method(channel.number, reply())

    # The goal must be there before anything is collected for it, as for any binding.
    if kind == "queue":
        session.ask(
            channel, goal_side, Exchange.Declare(exchange=name, type="fanout", durable=True), Exchange.DeclareOk
        )
        session.ask(channel, goal_side, Queue.Bind(queue=goal, exchange=name), Queue.BindOk, done)
    else:
        session.ask(channel, goal_side, Exchange.Declare(exchange=goal, passive=True), Exchange.DeclareOk, done)
    session.ask(channel, there, Queue.Declare(queue=name, durable=True), Queue.DeclareOk)
    collect = Queue.Bind(queue=name, exchange=source, routing_key=method.routing_key, arguments=method.arguments)
    session.ask(channel, there, collect, Queue.BindOk, done)


def _end(session: HybridSession, channel: Channel, method: Any, there: Side) -> None:
    name, source, kind, _ = _name(method)
    reply = Queue.UnbindOk if kind == "queue" else Exchange.UnbindOk

    def done() -> None:
        # With the last binding the link ends, after what was collected before has arrived.
        status.unbind(session.site.directory, name, _binding(method))
        session.outbox.method(channel.number, reply())

    collect = Queue.Unbind(queue=name, exchange=source, routing_key=method.routing_key, arguments=method.arguments)
    session.ask(channel, there, collect, Queue.UnbindOk, done)

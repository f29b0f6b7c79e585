"""Queues whose rules change under them: policies take effect at once.

Owns: the setting of policies, the way of a new rule to the handles of a session, and what a queue needs
when its rules have become others: a lane, or none, its length, its expiry.
Must not know: where rules come from.

A queue whose rules look at its messages must not have a lane, where nobody could follow them. Whoever
sets a policy sees to it (``adapt``); should they be killed in between, every consumer does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from haypile.broker import lanekeeping, texts
from haypile.broker.declare import policy as rows
from haypile.broker.declare.context import Context
from haypile.broker.enqueue import Arrivals
from haypile.broker.entities import Queue
from haypile.broker.errors import NotAllowed
from haypile.broker.pressure import Unfinished
from haypile.broker.queue import let_go
from haypile.hay.sessions import dead_sessions

if TYPE_CHECKING:
    from haypile.broker.policies import Policy
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session
    from haypile.broker.vhost import Vhost

#: Messages dropped from a queue that is too long before the loop has its turn, where it has other work.
TRIMMED = 64


def check_connections(vhost: Vhost, user: str) -> None:
    """Raise NotAllowed when the vhost has all the connections it may have."""
    vhost.topology.sync()
    limit = vhost.topology.policies.limit("max-connections")
    if limit is None:
        return
    with vhost.hay.read() as reading:
        count = len(reading.session_ids())
    if count - len(dead_sessions(vhost.hay)) >= limit:
        raise NotAllowed(texts.connection_limit(vhost.name, user, limit))


def listen(session: Session) -> None:
    """From now on the session's handles follow their queues' rules."""
    listener = functools.partial(follow, session.handles)
    session.vhost.topology.on_rules_changed[session.id] = listener


def unlisten(session: Session) -> None:
    """The session is over."""
    session.vhost.topology.on_rules_changed.pop(session.id, None)


def follow(handles: dict[int, QueueHandle], queue: Queue) -> None:
    """The rules of ``queue`` are new."""
    handle = handles.get(queue.id)
    if handle is not None:
        handle.adopt()


def unruly(handle: QueueHandle) -> bool:
    """Whether the queue has a lane that its rules do not allow."""
    return not handle.lanes and handle.queue.lane is not None and not handle.queue.deleted and not handle.foreign


def adapt(session: Session, handle: QueueHandle) -> None:
    """Give the queue what its rules want now; a very long one is made shorter piece by piece."""
    queue = handle.queue
    session.holdings.make_way(handle)
    with session.holdings.write() as moving:
        context = session.context(moving)
        if queue.deleted or handle.foreign:
            return
        arrivals = Arrivals(session, moving.txn)
        short = True
        if not handle.lanes:
            if queue.lane is not None:
                lanekeeping.retire_lane(moving, context, handle)
            short = arrivals.trim(handle, TRIMMED if session.sliced else None)
        elif queue.lane is None and queue.consumers:
            lanekeeping.make_lane(moving, context, handle)
        session.due.born(moving.txn, handle)
        arrivals.touched.setdefault(handle.id, handle)
    session.wake_all(arrivals)
    # They may sleep on a lane that is gone.
    session.ring({key[0] for key in queue.consumers})
    if not short:
        session.pressure.go_on(functools.partial(shorten, session, handle))


def shorten(session: Session, handle: QueueHandle) -> None:
    """Drop more of what is too much by the queue's rules. Raises ``Unfinished`` while there is more."""
    if session.closed:
        return
    with session.holdings.write() as moving:
        session.vhost.topology.sync(moving.txn)
        arrivals = Arrivals(session, moving.txn)
        short = handle.queue.deleted or arrivals.trim(handle, TRIMMED)
    session.wake_all(arrivals)
    if not short:
        raise Unfinished(functools.partial(shorten, session, handle))


# -- setting ----------------------------------------------------------------------------------


def set_policy(session: Session, policy: Policy, *, operator: bool = False) -> None:
    """Add ``policy``, in the place of one with its name; every queue follows before this returns."""
    change(session, lambda context: rows.set_policy(context, policy, operator=operator))


def clear_policy(session: Session, name: str, *, operator: bool = False) -> bool:
    """Take a policy out; False when there is none."""
    return bool(change(session, lambda context: rows.clear_policy(context, name, operator=operator)))


def set_limits(session: Session, limits: dict[str, int]) -> None:
    """The vhost has these limits from now on, and no others."""
    change(session, lambda context: rows.set_limits(context, limits))


def change(session: Session, operation: Callable[[Context], object]) -> object:
    """Change rules, and give the queues whose rules are others now what they want."""
    changed: dict[int, Queue] = {}

    def note(queue: Queue) -> None:
        follow(session.handles, queue)
        changed[queue.id] = queue

    topology = session.vhost.topology
    topology.sync()
    topology.on_rules_changed[session.id] = note
    try:
        with session.holdings.write() as moving:
            result = operation(session.context(moving))
    finally:
        listen(session)
    for queue in changed.values():
        adapt(session, session.handle_for(queue))
        handle = session.handles.get(queue.id)
        if handle is not None:
            let_go(handle)
    return result

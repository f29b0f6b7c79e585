"""Where queues are: the vhost of a URL, and the making, counting and removing of queues there.

Owns: the default vhost, names of queues without a name, maxsize as arguments of a broker queue.
Must not know: items, waiting.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from pika import spec

from haypile import targets
from haypile.broker.declare import queue as queues
from haypile.broker.errors import AMQPError
from haypile.broker.ports import VhostTarget
from haypile.queues.quiet import open_session

#: Seconds between two tries to put into a full queue: at first, and at most.
SOON, LATE = 0.0002, 0.005
#: The vhost of queues that name no other.
VHOST = "haypile.queues"
#: Names of queues that were given none; they go with the process that made them.
ANONYMOUS = "anonymous"


def find(url: str | None) -> VhostTarget | str:
    """The vhost at ``url``, or the URL of a RabbitMQ. None: HAYPILE_URL, else kernel queues of this host.

    Raises ``targets.TargetError``.
    """
    url = url or os.environ.get(targets.URL_VARIABLE)
    if not url:
        return targets.local_target(targets.parse_local("posix:///") or targets.LocalURL("posix", None), VHOST)
    local = targets.parse_local(url)
    return url if local is None else targets.local_target(local, VHOST)


def is_private(target: VhostTarget) -> bool:
    """Whether only our own user can write there."""
    return target.group is None


def anonymous_name() -> str:
    """A fresh name for a queue without one."""
    return f"{ANONYMOUS}.{os.getpid()}.{secrets.token_hex(8)}"


def make(target: VhostTarget, name: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
    """Make the queue called ``name`` unless it is there; the arguments it has.

    ``arguments`` None: those it has, or none. Raises ValueError when it is there with others.
    """
    session, poller = open_session(target, name)
    try:
        topology = session.vhost.topology
        topology.sync()
        known = topology.queues.get(name)
        if known is not None and arguments is None:
            return dict(known.arguments)
        method = spec.Queue.Declare(queue=name, arguments=arguments or {})
        try:
            with session.holdings.write() as moving:
                made = queues.queue_declare(session.context(moving), method)
        except AMQPError as error:
            raise ValueError(f"queue {name!r} is there already, and other: {error}") from error
        return dict(made.arguments)
    finally:
        session.close()
        poller.poll.close()


def remove(target: VhostTarget, name: str) -> None:
    """Delete the queue called ``name`` with what is in it, if it is there."""
    session, poller = open_session(target, name)
    try:
        with session.holdings.write() as moving:
            context = session.context(moving)
            if name in context.topology.queues:
                queues.queue_delete(context, spec.Queue.Delete(queue=name))
        session.notify(context)
    finally:
        session.close()
        poller.poll.close()

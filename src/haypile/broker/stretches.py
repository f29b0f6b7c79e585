"""Deliveries of a session whose loop has other work: no longer than that can wait; and looks before a loop sleeps.

Owns: which sources have their turn before the loop's other work, and which after it.
Must not know: how a message is taken and delivered (``source``).

It is looked at between two steps how long they took: a step takes as long as its messages are large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.pressure import STRETCH
from haypile.hay.gates import CONSUMERS

if TYPE_CHECKING:
    from haypile.broker.session import Session


def deliver_some(session: Session) -> None:
    """Deliver from sources that have something, as many as there is time for; the next ones come first then."""
    ready = [source for source in session.sources.values() if not source.idle and not source.blocked]
    if not ready:
        return
    acknowledged = any(not consumer.no_ack for source in ready for consumer in source.consumers)
    if acknowledged and not session.holdings.prepare():
        # That was a step of its own.
        session.outbox.soon()
        return
    clock = session.vhost.clock.monotonic
    until = clock() + STRETCH
    for number, source in enumerate(ready):
        if number and clock() > until:
            for one in ready[:number]:
                if session.sources.get(one.handle.id) is one:
                    session.sources[one.handle.id] = session.sources.pop(one.handle.id)
            session.outbox.soon()
            return
        source.pump(done=True)


def peek(session: Session) -> None:
    """Deliver what came into lanes that were found empty: the loop looks for itself, instead of being woken."""
    for source in list(session.sources.values()):
        if source.idle and not source.blocked and source.depth():
            source.stir()
            source.pump()


def alone(session: Session) -> bool:
    """Whether nobody else consumes from our queues: whoever looks for a message must not look for another one's."""
    return all(source.handle.words[source.handle.base + CONSUMERS] <= 1 for source in session.sources.values())

"""When a session is called: for what is due next, for what it waits for itself, and once a second anyway.

Owns: the time given to the loop, and which deadline of the vhost it was set for.
Must not know: what is done then (``Session.on_timer``).

Invariant: the loop calls no later than the earliest of all that is due, or somebody who found that out has rung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.idle import TICK
from haypile.hay.haste import PAUSE

if TYPE_CHECKING:
    from haypile.broker.session import Session


class Timer:
    """One session's timer."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: When it is to come, monotonic seconds.
        self.at = 0.0
        #: What was due next in the vhost when it was set, ns of the store's clock.
        self.seen = 0

    def set(self) -> None:
        """Be called for the next thing due, and once a second anyway."""
        session = self.session
        vhost = session.vhost
        wait = TICK
        self.seen = due = vhost.hay.gates.due
        if session.pressure.waiting:
            wait = session.pressure.pause
        elif session.stalled:
            wait = PAUSE
        if due:
            wait = min(max((due - vhost.clock.now()) / 1e9, 0.0), wait)
        flush = session.journaling.next_time()
        when = vhost.clock.monotonic() + wait
        self.at = min(when, flush) if flush else when
        session.outbox.call_at(self.at)

    def follow(self) -> None:
        """Something else may be due next by now."""
        if self.session.vhost.hay.gates.due != self.seen:
            self.set()

    def bring_forward(self, when: int) -> None:
        """Something is due earlier (ns) than anybody thought: who sleeps beyond it must know."""
        vhost = self.session.vhost
        self.set()
        if when < vhost.clock.now() + int(TICK * 1e9):
            vhost.ring_all(self.session.id)

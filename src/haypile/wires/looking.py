"""The wire of a loop that turns again at little cost: it looks for a moment before it lets the loop sleep.

Owns: when the loop is kept awake, and for how long.
Must not know: the loop, what is looked for (``Session.peek``).

See ``hover`` for why. The loop has other work: a look lasts ``GLANCE`` seconds, then the loop turns, and descriptors,
timers and callbacks of others have their turn; then comes the next one, until 200 us are over (``HAYPILE_LOOK``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from haypile.broker.ports import Content
from haypile.wires.hover import STREAM, Crowd, Pace
from haypile.wires.local import LocalWire

#: The longest look between two turns of the loop, seconds.
GLANCE = 0.00002


class LookingWire(LocalWire):
    """A wire on a loop whose ``call_soon`` is cheap."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pace = Pace()
        self._crowd = Crowd()
        self._look_for = self.target.look / 1e6
        #: When the wait began, and when the look ends; 0: there is none.
        self._resting = self._until = 0.0
        #: How long it was until a descriptor woke the loop, seconds, and messages since; negative: none did.
        self._slept, self._came = -1.0, 0
        #: Glances of this look, none of which found anything.
        self._glances = 0

    def contents(self, channel: int, batch: Sequence[Content]) -> None:
        """See ``Outbox.contents``."""
        self._came += len(batch)
        super().contents(channel, batch)

    def dozes(self) -> None:
        """See ``LookingOutbox``."""
        if not self._scheduled:
            self.schedule()

    def turn(self, until: float = 0.0) -> None:
        """See ``LocalWire``."""
        super().turn(until)
        if not self._scheduled and self.session is not None:
            self._rest(self.session)

    def _rest(self, session: Any) -> None:
        # The loop is about to block, as far as it is up to us.
        self._resting = now = time.monotonic()
        if self._slept >= 0.0:
            self._pace.slept(self._slept, self._came)
        self._slept, self._came, self._glances = -1.0, 0, 0
        if self._until:
            # (A stream ends the look.)
            self._until = now + self._look_for if self._pace.brisk else 0.0
        elif self._pace.brisk and self._may_look(session, now):
            self._until = now + self._look_for
            self.connection.call_soon(self._look)
        if not self._until:
            self._doze(session)

    def _may_look(self, session: Any, now: float) -> bool:
        if not self._look_for or self._crowd.around(now):
            return False
        return hasattr(session, "alone") and bool(session.alone())

    def on_ready(self, fd: int) -> None:
        """A descriptor of the session is readable."""
        if self._until:
            self._found()
        else:
            self._slept = time.monotonic() - self._resting
        super().on_ready(fd)

    def _look(self) -> None:
        session: Any = self.session
        if session is None or self._scheduled or not self._until:
            # Something else is under way, and ends with a wait of its own.
            self._until = 0.0
            return
        clock = time.monotonic
        until = min(clock() + GLANCE, self._until)
        while True:
            self._work(session.peek)
            if self.inbox or self._soon or self.down:
                self._found()
                self._until = 0.0
                self.turn()
                return
            self._glances += 1
            if clock() >= until:
                break
        if until < self._until:
            self.connection.call_soon(self._look)
            return
        self._until = 0.0
        self._pace.in_vain()
        self._doze(session)

    def _found(self) -> None:
        # Before the first glance: the loop's turn took longer than the message.
        self._pace.found(STREAM if self._glances else 0.0, len(self.inbox))

    def _doze(self, session: Any) -> None:
        if getattr(session, "dozing", None):
            self._work(session.doze)
            if self.inbox or session.dozing:
                self.schedule()

"""The wire of a blocking front.

Owns: when replies and deliveries go up to a front that waits for them itself.
Must not know: pika's private names (``seam``), the broker's inside.

A blocking front runs no code of the user while it turns the wire (pika queues events and dispatches them
afterwards), so a delivery may go up while the broker is still at work, and no loop is needed for replies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pika import spec

from haypile.broker.ports import Content
from haypile.wires import lives
from haypile.wires.hover import Hover
from haypile.wires.local import LocalWire
from haypile.wires.opening import FAILURES
from haypile.wires.seam.loops import Turning, watch_in_turn

_Deliver = spec.Basic.Deliver
_Ack = spec.Basic.Ack

#: Seconds without a look at timers and descriptors while deliveries keep coming.
BREATH = 0.001


class EagerWire(LocalWire):
    """The wire of a front that asks for replies itself, and runs no code of the user while it gets them."""

    #: Replies are there when ``send`` returns.
    prompt = True
    idles = True
    _working = False
    _looked = 0.0
    #: Messages that came, from the beginning.
    _came = 0
    _turning: Turning | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hover = Hover(self.target.look / 1e6)
        #: Of confirms: a consumer that takes the message at once is sooner than a disk, and than two wake-ups.
        self._confirms = Hover(self.target.look / 1e6)

    @property
    def restless(self) -> bool:
        """The session wants ``before_sleep`` once more before the loop blocks."""
        return self._soon

    @property
    def congested(self) -> bool:
        """Whether a publish waits for room, and all that came after it with it."""
        return self.session is not None and bool(self.session.pressure.waiting)

    def schedule(self) -> None:
        """The front turns the wire, once the connection is open."""
        if self.session is None:
            super().schedule()

    def soon(self) -> None:
        """See ``Outbox.soon``. Said with every ack: there is nothing to schedule once the connection is open."""
        self._soon = True
        if self.session is None:
            super().soon()

    def contents(self, channel: int, batch: Sequence[Content]) -> None:
        """See ``Outbox.contents``: deliveries go up at once when nothing waits before them."""
        self._came += len(batch)
        if self._working and not self.inbox and batch[0][0].__class__ is _Deliver:
            self.connection.receive_deliveries(channel, batch)
        else:
            self.inbox.extend([(channel, *one) for one in batch])

    def watch_in_turn(self, fd: int) -> None:
        """See ``Session.watch``. Called again: after all others."""
        watch_in_turn(self.connection.ioloop, fd, self.on_ready)

    def turn(self, until: float = 0.0) -> None:
        """Hand everything that waits to pika."""
        self._scheduled = False
        self.stale = 0
        inbox, pass_on = self.inbox, self.pass_on
        while inbox:
            pass_on(*inbox.popleft())

    def catch_up(self) -> None:
        """Hand to pika what has been there since the last blocking call ended."""
        for _ in range(self.stale):
            if not self.inbox:
                break
            self.pass_on(*self.inbox.popleft())
        self.stale = 0

    def acknowledged(self, number: int) -> bool:
        """Whether what was just published on channel ``number`` is confirmed, and nothing else came.

        The loop has one turn for that: mostly all that is waited for is one consumer, or the disk.
        """
        if self.stale:
            return False
        inbox = self.inbox
        if not inbox:
            self.before_sleep()
            if not inbox and not self.ending:
                if self._soon:
                    self.look()
                else:
                    self._confirms.wait(self._turn, always)
                    self._confirms.came(len(inbox))
        if len(inbox) != 1 or inbox[0][1].__class__ is not _Ack or inbox[0][0] != number:
            return False
        inbox.clear()
        return True

    def sleep(self) -> None:
        """One turn of the loop, which waits for something."""
        before, hover = self._came, self._hover
        hover.wait(self._turn, self._alone)
        hover.came(self._came - before)

    def rest(self) -> None:
        """See ``sleep``, for what takes its time."""
        self._turn(True)

    def _turn(self, block: bool) -> bool:
        session: Any = self.session
        dozing = getattr(session, "dozing", None)
        if dozing is not None and (dozing or not block):
            before = self._came
            self._work(session.doze if block else session.peek)
            if self._came != before:
                return True
            # What was found may be no message: then there is a queue again that has not said that we sleep.
            block = block and not session.dozing
        if self._turning is None:
            self._turning = Turning(self.connection)
        found = self._turning.turn(block)
        if block:
            self._looked = time.monotonic()
        return found

    def _alone(self) -> bool:
        session: Any = self.session
        return hasattr(session, "alone") and bool(session.alone())

    def dozes(self) -> None:
        """See ``Outbox.dozes``: every turn that may sleep begins with it."""

    def breathe(self) -> None:
        """Deliveries came without the loop: now and then timers, callbacks and descriptors have a turn."""
        if time.monotonic() - self._looked >= BREATH:
            self.look()

    def look(self) -> None:
        """One turn of the loop without sleeping."""
        self._looked = time.monotonic()
        session: Any = self.session
        if getattr(session, "dozing", None):
            self._work(session.peek)
        loop = self.connection.ioloop
        timer = loop.call_later(0, nothing)
        loop.poll()
        loop.remove_timeout(timer)
        loop.process_timeouts()

    def before_sleep(self) -> None:
        """The front is about to wait."""
        self._soon = False
        if lives.dropped:
            lives.reap()
        session = self.session
        if session is not None:
            self._working = True
            try:
                session.before_sleep()
            except FAILURES as error:
                self.fail(error)
            finally:
                self._working = False

    def wait(self) -> bool:
        """Deliver what is there, or what comes after one sleep; whether that is all that there is to be done."""
        inbox = self.inbox
        if inbox or self.stale or self.ending:
            return False
        came = self._came
        self.before_sleep()
        if inbox or self.ending:
            return False
        if self._came != came:
            self.breathe()
        elif self._soon:
            return False
        else:
            self.sleep()
        session: Any = self.session
        return self._came != came and not (inbox or self.ending or session is None or session.pressure.waiting)

    def on_ready(self, fd: int, events: int = 0) -> None:
        """A descriptor of the session is readable."""
        session = self.session
        if session is None:
            return
        # ``_work``, which would be one call more for each wake-up.
        self._working = True
        try:
            session.on_ready(fd)
        except FAILURES as error:
            self.fail(error)
        finally:
            self._working = False

    def on_timer(self) -> None:
        """The session's deadline has come."""
        self._wakeup = None
        if self.session is not None:
            self._work(self.session.on_timer)

    def _work(self, work: Callable[..., None], *arguments: int) -> None:
        self._working = True
        try:
            work(*arguments)
        except FAILURES as error:
            self.fail(error)
        finally:
            self._working = False


def always() -> bool:
    """Nobody else waits for the confirm of this message."""
    return True


def nothing() -> None:
    """What a timer calls that only keeps the loop from sleeping."""


class FlushingWire(EagerWire):
    """The wire of a session that has sockets: what was sent has left when the call returns, as over pika's own."""

    prompt = False

    def send(self, number: int, method: Any, content: Any) -> None:
        """See ``LocalWire``."""
        super().send(number, method, content)
        self._flush()

    def publish(self, number: int, method: Any, properties: Any, body: bytes) -> None:
        """See ``LocalWire``."""
        super().publish(number, method, properties, body)
        self._flush()

    def _flush(self) -> None:
        while True:
            session: Any = self.session
            if session is None or not getattr(session, "fresh", False):
                return
            session.flushed()
            if session.connecting:
                self.rest()
            else:
                self.look()

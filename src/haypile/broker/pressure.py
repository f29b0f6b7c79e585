"""Holding a publisher back while there is no room: in a kernel queue that others drain, in the store, on the disk.

Owns: the methods of a connection that wait behind such a publish, Connection.Blocked and Unblocked.
Must not know: kernel queues; how room is measured (``hay.room``).

RabbitMQ stops reading from a connection that publishes while an alarm is on
(https://www.rabbitmq.com/docs/connection-blocked): what comes after the publish waits with it, what is
delivered goes on. Settlements pass, so that a program which drains the queue itself does not wait for
itself. A publish that was carried out in part goes on where it stopped: no queue gets it twice.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.spec import BasicProperties

from haypile.broker.errors import LONGEST_REPLY_TEXT

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

LOGGER = logging.getLogger("haypile")

#: Seconds between two tries: at first, and at most where a kernel queue is full, and where memory or a disk is.
SOON, LATE, LATER = 0.0005, 0.02, 0.1
#: Seconds that the session goes on with what waits before the loop's other work has its turn.
STRETCH = 0.0005
#: Seconds between two turns of the session's other business, while something waits.
TURN = 0.5

_PASSING = frozenset(
    (
        spec.Basic.Ack,
        spec.Basic.Nack,
        spec.Basic.Reject,
        spec.Channel.CloseOk,
        spec.Connection.CloseOk,
        spec.Basic.CancelOk,
    )
)


class Congested(Exception):
    """A publish must wait: ``reason`` says for what, in a person's words.

    ``again`` carries out what is left of it, and says whether the message was accepted; None: the method is
    to be carried out from its beginning. ``latest``: seconds between two tries, at most.
    """

    def __init__(self, reason: str, again: Callable[[], Any] | None = None, latest: float = LATER) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.latest = latest
        self.after: Callable[[Any], None] | None = None

    def then(self, after: Callable[[Any], None] | None) -> Congested:
        """Have ``after`` called with what ``again`` returns."""
        if after is not None:
            self.after = after
        return self


class Unfinished(Congested):
    """A method takes long, and the loop is to have its turn: ``again`` goes on with it.

    None: the method is carried out from its beginning, and finds what is left to do. Nobody is told, and what
    comes after the method waits for it.
    """

    def __init__(self, again: Callable[[], Any] | None = None, pause: float = 0.0) -> None:
        """``pause``: seconds until it goes on."""
        super().__init__("", again)
        self.pause = pause


class Rest:
    """What is left of a method: stands where it stood."""

    def __init__(self, again: Callable[[], Any], after: Callable[[Any], None] | None, *, light: bool = False) -> None:
        """``light``: it changes nothing when it raises ``Busy``."""
        self.again = again
        self.after = after
        self.light = light

    def go_on(self) -> None:
        """Carry it out. Raises ``Congested`` when it has to wait again."""
        try:
            accepted = self.again()
        except Congested as error:
            raise error.then(self.after) from None
        if self.after is not None:
            self.after(accepted)


#: What sees to the session's batch itself.
_AFTER_BATCH = frozenset((spec.Basic.Publish, Rest))


class Pressure:
    """What a session has waiting."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: The session's other business is due, and its time comes next.
        self.owed = False
        #: The session knows foreign queues: every publish must look for them.
        self.foreign = False
        self.waiting: deque[tuple[int, Any, BasicProperties | None, bytes]] = deque()
        self.pause = SOON
        self.latest = LATER
        self.blocked = False
        #: It is a method of the session's own that all others wait for (``Unfinished``).
        self.unfinished = False
        #: When the session last did its other business, seconds of the loop's clock.
        self.business = 0.0

    def send(
        self, handles: tuple[QueueHandle, ...], properties: BasicProperties | None, body: bytes
    ) -> bool:
        """Put a message into the foreign ones of ``handles``; whether these are all.

        Raises ``Congested`` when one is full: the same publish is to be tried again then, and goes only
        to those that do not have it. Raises AMQPError for what cannot be sent.
        """
        alone = bool(handles)
        patience = 0.0 if self.waiting else self.session.publisher.patience
        for handle in handles:
            if handle.foreign:
                if not handle.send(properties, body, patience):
                    raise Congested(f"kernel queue of '{handle.queue.name}' is full", latest=LATE)
            else:
                alone = False
        return alone

    def was_sent(self, handles: tuple[QueueHandle, ...]) -> bool:
        """All of ``handles`` have the message: the next one is another."""
        for handle in handles:
            handle.was_sent()
        return True

    def begin(self, error: Congested, item: tuple[int, Any, BasicProperties | None, bytes]) -> None:
        """A publish has to wait."""
        if error.again is not None:
            channel, _, properties, body = item
            item = channel, Rest(error.again, error.after), properties, body
        self.waiting.appendleft(item)
        if isinstance(error, Unfinished):
            self.turn(error.pause)
            return
        self.latest = error.latest
        if not self.blocked:
            self.pause = SOON
        self.block(error.reason)
        self.session.timer.set()

    def turn(self, pause: float = 0.0) -> None:
        """The loop has its turn, and comes back in ``pause`` seconds."""
        self.unfinished = True
        self.pause = pause
        self.session.timer.set()

    def go_on(self, work: Callable[[], Any]) -> None:
        """Do ``work`` when the loop has had its turn, before all that comes."""
        self.waiting.appendleft((0, Rest(work, None), None, b""))
        self.turn()

    def block(self, reason: str) -> None:
        """Tell the client that publishing has to wait."""
        if self.blocked:
            return
        self.blocked = True
        if self.latest == LATER:
            # Somebody must do something about it.
            LOGGER.warning("vhost %r: connection blocked: %s", self.session.vhost.name, reason)
        encoded = reason.encode(errors="replace")[:LONGEST_REPLY_TEXT]
        self.session.outbox.method(0, spec.Connection.Blocked(encoded.decode(errors="ignore")))

    def unblock(self) -> None:
        """There is room again."""
        if self.blocked:
            self.blocked = False
            if self.latest == LATER:
                LOGGER.info("vhost %r: connection unblocked", self.session.vhost.name)
            self.session.outbox.method(0, spec.Connection.Unblocked())

    def hold(self, channel: int, method: Any, properties: BasicProperties | None, body: bytes) -> bool:
        """Whether a method has to wait behind a publish."""
        if method.__class__ in _PASSING and not self.unfinished:
            return False
        self.waiting.append((channel, method, properties, body))
        return True

    def on_timer(self) -> bool:
        """Try again; whether that was all, for now (the session's other business is due once a second)."""
        clock = self.session.vhost.clock.monotonic
        start = clock()
        if self.owed:
            self.owed, self.business = False, start
            return False
        if not self.waiting:
            return False
        self.retry()
        now = clock()
        if self.session.sliced and now > start + STRETCH and not self.session.closed:
            # The business comes when the loop has had its turn.
            self.owed = not self.waiting or now >= self.business + TURN
            if self.owed:
                self.session.outbox.call_at(now)
            else:
                self.session.timer.set()
            return True
        if not self.waiting or now >= self.business + TURN:
            self.business = now
            return False
        self.session.timer.set()
        return True

    def retry(self) -> None:
        """Carry out what waits, as far as there is room."""
        session = self.session
        before = len(self.waiting)
        batch = session.batch
        clock = session.vhost.clock.monotonic
        until = clock() + STRETCH
        while self.waiting:
            if batch.items and self.waiting[0][1].__class__ not in _AFTER_BATCH:
                # What was published before.
                batch.store()
                if batch.held:
                    break
            item = self.waiting.popleft()
            self.unfinished = False
            if not session.carry_out(*item) or self.unfinished:
                break
            if session.sliced and self.waiting and clock() > until:
                self.turn()
                break
            if self.latest == LATER:
                # The alarm is over: should the next one have to wait, that is another one.
                self.unblock()
        if not self.waiting:
            self.unblock()
        elif self.unfinished:
            pass
        elif len(self.waiting) == before:
            self.pause = min(self.pause * 2, self.latest)
        else:
            self.pause = SOON

"""Holding a publisher back while a kernel queue that others drain is full.

Owns: the methods of a connection that wait behind such a publish, Connection.Blocked and Unblocked.
Must not know: kernel queues.

RabbitMQ stops reading from a connection that publishes while an alarm is on
(https://www.rabbitmq.com/docs/connection-blocked): what comes after the publish waits with it, what is
delivered goes on. Settlements pass, so that a program which drains the queue itself does not wait for
itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from pika import spec
from pika.spec import BasicProperties

if TYPE_CHECKING:
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

#: Seconds between two tries: at first, and at most.
SOON, LATE = 0.0005, 0.02
#: Tries between two turns of the session's other business.
TURNS = 50

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
    """A publish must wait for room in ``queue``."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue = queue


class Pressure:
    """What a session has waiting."""

    def __init__(self, session: Session) -> None:
        self.session = session
        #: The session knows foreign queues: every publish must look for them.
        self.foreign = False
        self.waiting: deque[tuple[int, Any, BasicProperties | None, bytes]] = deque()
        self.pause = SOON
        self.blocked = False
        self.turns = 0

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
                    raise Congested(handle.queue.name)
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
        self.waiting.appendleft(item)
        if not self.blocked:
            self.blocked = True
            self.pause = SOON
            self.session.outbox.method(0, spec.Connection.Blocked(f"kernel queue of '{error.queue}' is full"))
        self.session.set_timer()

    def hold(self, channel: int, method: Any, properties: BasicProperties | None, body: bytes) -> bool:
        """Whether a method has to wait behind a publish."""
        if method.__class__ in _PASSING:
            return False
        self.waiting.append((channel, method, properties, body))
        return True

    def on_timer(self) -> bool:
        """Try again; whether that was all, for now (the session's other business is due once a second)."""
        if not self.waiting:
            return False
        self.retry()
        self.turns += 1
        if not self.waiting or not self.turns % TURNS:
            return False
        self.session.set_timer()
        return True

    def retry(self) -> None:
        """Carry out what waits, as far as there is room."""
        session = self.session
        before = len(self.waiting)
        while self.waiting:
            item = self.waiting.popleft()
            if not session.carry_out(*item):
                break
        if not self.waiting:
            self.blocked = False
            session.outbox.method(0, spec.Connection.Unblocked())
        elif len(self.waiting) == before:
            self.pause = min(self.pause * 2, LATE)
        else:
            self.pause = SOON

"""A broker session that answers everything at once: declare, consume and publish echo.

It keeps what it was asked, so that a test can look, and can be told to fail, to deliver or to close.
"""

from __future__ import annotations

import os
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from pika import spec

from haypile.broker.ports import Outbox, VhostTarget
from haypile.wires import opening

PROPERTIES = spec.BasicProperties()


class FakeSession:
    """What a wire sees of ``broker.session.Session``."""

    def __init__(self, target: VhostTarget, outbox: Outbox, options: dict[str, Any]) -> None:
        self.target = target
        self.outbox = outbox
        self.options = options
        self.asked: list[tuple[int, Any, Any, bytes]] = []
        #: What ``before_sleep`` delivers next.
        self.waiting: deque[tuple[int, str, bytes]] = deque()
        self.failure: Exception | None = None
        self.on_handle: Any = None
        self.pressure = SimpleNamespace(waiting=())
        self.sleeps = 0
        #: One entry for each ``close``; outlives the session.
        self.closings: list[str] = []
        self.tag = 0
        self.confirming: set[int] = set()
        self.consumers: dict[str, int] = {}
        self.read, self.write = os.pipe()
        outbox.watch(self.read)

    def handle(self, channel: int, method: Any, properties: Any = None, body: bytes = b"") -> None:
        self.asked.append((channel, method, properties, body))
        if self.failure is not None:
            raise self.failure
        if self.on_handle is not None and self.on_handle(channel, method, properties, body):
            return
        reply = self.reply(channel, method, body)
        if reply is not None:
            self.outbox.method(channel, reply)

    def reply(self, channel: int, method: Any, body: bytes) -> Any:
        match method:
            case spec.Channel.Open():
                return spec.Channel.OpenOk()
            case spec.Channel.Close():
                return spec.Channel.CloseOk()
            case spec.Connection.Close():
                self.close()
                return spec.Connection.CloseOk()
            case spec.Connection.UpdateSecret():
                return spec.Connection.UpdateSecretOk()
            case spec.Queue.Declare():
                return spec.Queue.DeclareOk(method.queue, 0, 0)
            case spec.Basic.Get():
                return spec.Basic.GetEmpty()
            case spec.Basic.Consume():
                self.consumers[method.consumer_tag] = channel
                return spec.Basic.ConsumeOk(method.consumer_tag)
            case spec.Basic.Cancel():
                self.consumers.pop(method.consumer_tag, None)
                return spec.Basic.CancelOk(method.consumer_tag)
            case spec.Confirm.Select():
                self.confirming.add(channel)
                return spec.Confirm.SelectOk()
            case spec.Basic.Publish():
                for tag, number in self.consumers.items():
                    self.deliver(number, tag, body)
                if channel in self.confirming:
                    self.tag += 1
                    return spec.Basic.Ack(self.tag)
        return None

    def deliver(self, channel: int, consumer_tag: str, body: bytes) -> None:
        self.tag += 1
        method = spec.Basic.Deliver(consumer_tag, self.tag, False, "", "queue")
        self.outbox.contents(channel, [(method, PROPERTIES, body)])

    def before_sleep(self) -> None:
        self.sleeps += 1
        self.give()

    def give(self) -> None:
        while self.waiting:
            self.deliver(*self.waiting.popleft())

    def ring(self) -> None:
        """Make the watched descriptor readable."""
        os.write(self.write, b"!")

    def on_ready(self, fd: int) -> None:
        assert fd == self.read
        os.read(fd, 100)
        if self.failure is not None:
            raise self.failure
        self.give()

    def on_timer(self) -> None:
        self.give()

    def pump(self) -> None:
        self.give()

    @property
    def closed(self) -> bool:
        return bool(self.closings)

    def close(self) -> None:
        self.closings.append("closed")
        if len(self.closings) == 1:
            self.outbox.unwatch(self.read)
            self.outbox.call_at(None)
            os.close(self.read)
            os.close(self.write)


class FakeBroker:
    """Opens fake sessions."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.refusal: Exception | None = None

    def open(self, target: VhostTarget, outbox: Outbox, **options: Any) -> FakeSession:
        if self.refusal is not None:
            raise self.refusal
        session = FakeSession(target, outbox, options)
        self.sessions.append(session)
        return session

    @property
    def session(self) -> FakeSession:
        """The latest."""
        return self.sessions[-1]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """Local connections go to a fake from now on."""
    broker = FakeBroker()
    monkeypatch.setattr(opening, "open_session", broker.open)
    monkeypatch.delenv("HAYPILE_URL", raising=False)
    return broker

"""The same bare client over a haypile session: no pika connection, no event loop.

``Local.call`` answers what ``Oracle.call`` answers, so that the two can be compared.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pika import spec
from pika.spec import BasicProperties

from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session
from tests.differential.oracle import UNASKED, report


class Box:
    """An outbox that remembers."""

    def __init__(self) -> None:
        self.methods: list[Any] = []
        self.watched: set[int] = set()

    def method(self, channel: int, method: Any) -> None:
        """Keep it."""
        self.methods.append(method)

    def contents(self, channel: int, batch: Sequence[tuple[Any, BasicProperties, bytes]]) -> None:
        """Keep the methods."""
        self.methods.extend(method for method, _, _ in batch)

    def watch(self, fd: int) -> None:
        """``Local.turn`` looks at it."""
        self.watched.add(fd)

    def unwatch(self, fd: int) -> None:
        """Not any more."""
        self.watched.discard(fd)

    def call_at(self, deadline: float | None) -> None:
        """There is no clock."""

    def soon(self) -> None:
        """There is no loop."""


class Local:
    """One connection to a haypile vhost, channel 1 open."""

    def __init__(self, directory: Path, vhost: str = "/") -> None:
        self.target = VhostTarget(directory, vhost)
        self.connect()

    def connect(self) -> None:
        """A new session and channel 1."""
        self.box = Box()
        self.session = Session.open(self.target, self.box, client_properties={})
        self.open_channel()

    def open_channel(self) -> None:
        """Channel 1, anew."""
        self.session.handle(1, spec.Channel.Open())
        self.box.methods.clear()

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def turn(self) -> None:
        """What a loop would do between two calls."""
        self.session.before_sleep()
        while self.box.watched:
            ready, _, _ = select.select(list(self.box.watched), [], [], 0)
            if not ready:
                break
            for fd in ready:
                self.session.on_ready(fd)
            self.session.before_sleep()

    def call(self, method: Any, properties: BasicProperties | None = None, body: bytes = b"") -> tuple[Any, ...]:
        """As ``Oracle.call``."""
        self.box.methods.clear()
        self.session.handle(1, method, properties, body)
        replies = [reply for reply in self.box.methods if not isinstance(reply, UNASKED)]
        if replies and isinstance(replies[-1], spec.Channel.Close):
            self.session.handle(1, spec.Channel.CloseOk())
            self.open_channel()
        elif replies and isinstance(replies[-1], spec.Connection.Close):
            self.session.handle(0, spec.Connection.CloseOk())
            self.session.close()
            self.connect()
        return report(replies) if replies else ()

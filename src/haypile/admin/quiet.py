"""A session for looking, with no pika connection above it.

Owns: the client that is never told anything, and the opening and closing around it.
Must not know: what it is opened for.

Invariant: such a session has no consumers, so no message ever waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session


class Nobody:
    """The client of a session that only looks, or changes rules."""

    def method(self, channel: int, method: Any) -> None:
        """See ``broker.ports.Outbox``, here and below."""

    def contents(self, channel: int, batch: Any) -> None:
        """Nothing is consumed."""

    def watch(self, fd: int) -> None:
        """No loop turns."""

    unwatch = watch

    def call_at(self, deadline: float | None) -> None:
        """It is over before any timer."""

    def soon(self) -> None:
        """It never sleeps."""


@contextmanager
def quiet_session(target: VhostTarget, command: str) -> Iterator[Session]:
    """A session in the vhost at ``target``; ``command`` is what listings say of it.

    Raises what ``Session.open`` raises.
    """
    info = {"pid": os.getpid(), "command": command}
    session = Session.open(target, Nobody(), counted=False, info=info)
    try:
        session.vhost.topology.sync()
        yield session
    finally:
        session.close()

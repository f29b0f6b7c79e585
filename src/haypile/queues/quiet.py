"""A session that no loop turns, and the process it is of.

Owns: what stands for a wire and its loop; telling a forked child from its parent.
Must not know: items, queues.
"""

from __future__ import annotations

import os
import select
from typing import Any

from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session

#: Seconds a full lane is waited for before an item takes the detour through the store.
PATIENCE = 0.05


class Here:
    """Which process this is; asking the kernel costs as much as sending does."""

    pid = os.getpid()

    @classmethod
    def forked(cls) -> None:
        """In a forked child."""
        cls.pid = os.getpid()


os.register_at_fork(after_in_child=Here.forked)


class QuietSession(Session):
    """A session whose consumers are asked, and never called."""

    def look_around(self) -> None:
        """See ``Session``: whoever gets looks by itself."""
        self.vhost.topology.sync()
        for source in self.sources.values():
            source.stir()

    def pump(self) -> None:
        """See ``Session``."""

    def before_sleep(self) -> None:
        """See ``Session``."""


class Poller:
    """The session's outbox: descriptors to wait for, and when to look at the clock."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.deadline: float | None = None

    def method(self, channel: int, method: Any) -> None:
        """See ``Outbox``: nobody sends methods here that are answered."""

    def contents(self, channel: int, batch: Any) -> None:
        """See ``Outbox``: nothing is delivered, items are fetched."""

    def watch(self, fd: int) -> None:
        """See ``Outbox``."""
        self.poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """See ``Outbox``."""
        self.poll.unregister(fd)

    def call_at(self, deadline: float | None) -> None:
        """See ``Outbox``."""
        self.deadline = deadline

    def soon(self) -> None:
        """See ``Outbox``."""


def open_session(target: VhostTarget, name: str) -> tuple[QuietSession, Poller]:
    """A session of this process. Raises the errors of ``Session.open``."""
    poller = Poller()
    try:
        info = {"pid": os.getpid(), "queue": name}
        session = QuietSession.open(target, poller, patience=PATIENCE, info=info)
    except BaseException:
        poller.poll.close()
        raise
    assert isinstance(session, QuietSession)
    return session, poller

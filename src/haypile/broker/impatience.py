"""A session whose loop has other work does not wait for the store's write lock.

Owns: which entries of a session try for the lock first, which find out on the way, and when they come again.
Must not know: the lock (``hay.haste``).

Most methods are sure to write: the lock is taken before they begin, so that they are carried out whole or not at all.
Publishing, acknowledging and delivering mostly need no lock: they are stopped where they would have to wait for it,
which is before they have changed anything, and go on from there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pika import spec

from haypile.broker.pressure import Rest, Unfinished
from haypile.hay import haste
from haypile.hay.errors import Busy

if TYPE_CHECKING:
    from haypile.broker.session import Session

#: Methods that may need no transaction.
LIGHT = frozenset((spec.Basic.Publish, spec.Basic.Ack))

Entry = TypeVar("Entry", bound=Callable[..., Any])


def carefully(carry_out: Entry) -> Entry:
    """For ``Session.carry_out``: what cannot be done now waits in ``pressure``."""

    @functools.wraps(carry_out)
    def careful(self: Session, channel: int, method: Any, properties: Any, body: bytes) -> bool:
        if not self.sliced:
            return bool(carry_out(self, channel, method, properties, body))
        hay, kind = self.vhost.hay, method.__class__
        if kind in LIGHT or (kind is Rest and method.light):
            # As ``haste.hasty`` does, for every message.
            before, hay.hasty = hay.hasty, haste.this_thread()
            try:
                return bool(carry_out(self, channel, method, properties, body))
            except Busy:
                pass
            finally:
                hay.hasty = before
        elif haste.hold(hay):
            try:
                return bool(carry_out(self, channel, method, properties, body))
            finally:
                haste.let_go(hay)
        self.pressure.begin(Unfinished(pause=haste.PAUSE), (channel, method, properties, body))
        return False

    return cast(Entry, careful)


def when_free(entry: Entry) -> Entry:
    """For ``Session.on_timer``: nothing of it while the lock cannot be had."""

    @functools.wraps(entry)
    def tried(self: Session) -> None:
        if not self.sliced or self.closed:
            entry(self)
            return
        hay = self.vhost.hay
        if not haste.hold(hay):
            stall(self)
            return
        try:
            if self.stalled:
                self.stalled = False
                self.look_around()
                self.journaling.settle()
            entry(self)
        finally:
            haste.let_go(hay)

    return cast(Entry, tried)


def as_far_as(entry: Entry) -> Entry:
    """For the session's deliveries: as far as they get without the lock, and the rest soon.

    ``interruptible``, too: one call less for each batch.
    """

    @functools.wraps(entry)
    def tried(self: Session, *arguments: Any) -> None:
        try:
            if not self.sliced:
                entry(self, *arguments)
                return
            hay = self.vhost.hay
            before, hay.hasty = hay.hasty, haste.this_thread()
            try:
                entry(self, *arguments)
                return
            except Busy:
                pass
            finally:
                hay.hasty = before
            stall(self)
        except BaseException:
            self.vhost.hay.let_go()
            raise

    return cast(Entry, tried)


def stall(session: Session) -> None:
    """Come again in a moment; until then nothing that is readable wakes the loop."""
    session.stalled = True
    for source in session.sources.values():
        source.unwatch()
    session.timer.set()

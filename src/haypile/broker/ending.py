"""How a session ends: what it held is given back, then what it used.

Owns: the order of that, and which of it a loop that has other work does itself.
Must not know: who asks for it.

Giving back (``part``) is one transaction, in the session's own thread, and under the write lock already where it must
not be waited for. What comes after it (``release``) concerns nobody else any more: a flush of what the end left, files
to remove, memory to unmap, a store to close. It takes as long as all that, so a loop has it done in another thread.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from haypile.broker import recovery, ruling, shrinking
from haypile.broker.pressure import Unfinished
from haypile.broker.queue import NOTHING
from haypile.hay.haste import pause

if TYPE_CHECKING:
    from haypile.broker.session import Session

LOGGER = logging.getLogger("haypile")


def close(session: Session) -> None:
    """All of it, here and now."""
    try:
        part(session)
    finally:
        release(session)


def end(session: Session, then: Callable[[], None] | None = None) -> None:
    """All of it, as far as possible elsewhere; then ``then``, in the loop."""

    def done(error: BaseException | None) -> None:
        tell(session, error)
        if then is not None:
            then()

    if session.offload is None:
        close(session)
        done(None)
        return
    try:
        part(session)
    finally:
        session.offload(functools.partial(release, session), done)


def abandon(session: Session) -> None:
    """All of it after the connection was lost: elsewhere, for the loop may not turn any more."""
    session.closing = True
    silence(session)
    if session.offload is None:
        session.close()
    else:
        session.offload(functools.partial(in_pieces, session), functools.partial(tell, session))


def in_pieces(session: Session) -> None:
    """Between two of them the loop has the interpreter, and others the write lock."""
    try:
        while True:
            try:
                shrinking.give_back(session)
                break
            except Unfinished:
                pause(0)
    finally:
        session.close()


def tell(session: Session, error: BaseException | None) -> None:
    """Of what went wrong at the end, if anything did: others will find what is left, and mend it."""
    if error is not None:
        LOGGER.warning("vhost %r: a session could not give back all it held: %s", session.vhost.name, error)


def silence(session: Session) -> None:
    """Nothing calls the session any more."""
    session.outbox.call_at(None)
    for source in session.sources.values():
        source.unwatch()
    session.unwatch_bell()


def part(session: Session) -> None:
    """Give back what is not settled, and leave."""
    session.closing = session.closed = True
    ruling.unlisten(session)
    silence(session)
    try:
        session.homing.bring_home()
        session.batch.close()
        session.publisher.wake()
        recovery.leave(session)
    finally:
        for handle in session.handles.values():
            handle.leave()
        session.publisher.words = NOTHING
        session.publisher.routes.clear()  # with them the handles of queues that were deleted
        session.sources.clear()
        session.holdings.acked.clear()
        session.journaling.waiting.clear()


def release(session: Session) -> None:
    """Let go of everything. The session's own thread does not look at it any more."""
    try:
        session.journaling.close()
    finally:
        session.holdings.close()
        session.bodies.close()
        session.swaths.close()
        session.counters.close()
        session.file.close(gone=session.gone)
        session.vhost.remove_lanes()
        session.vhost.leave()

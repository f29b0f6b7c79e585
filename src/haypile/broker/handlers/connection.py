"""Methods of channel 0 after the handshake (which the wire answers).

Owns: Connection.Close, UpdateSecret.
Must not know: channels' contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika import spec

from haypile.broker import ending, lifecycle, shrinking
from haypile.broker.handlers.registry import CONNECTION
from haypile.broker.pressure import Unfinished

if TYPE_CHECKING:
    from haypile.broker.session import Session


#: Seconds between two looks whether a flush is done.
LOOK = 0.001


def close(session: Session, method: spec.Connection.Close) -> None:
    """The client says goodbye: everything is given back before the answer."""
    if session.sliced:
        shrinking.give_back(session)
        # What is put back and acknowledged now is flushed by another thread, not at the very end by the loop.
        for channel in session.channels.values():
            lifecycle.release(session, channel)
        session.holdings.flush_acks()
        if not session.parting:
            session.parting = True
            raise Unfinished
        if session.journaling.finishing():
            raise Unfinished(pause=LOOK)
    ending.end(session, lambda: session.outbox.method(0, spec.Connection.CloseOk()))


def close_ok(session: Session, method: spec.Connection.CloseOk) -> None:
    """The answer to a close of ours."""
    ending.end(session)


def update_secret(session: Session, method: spec.Connection.UpdateSecret) -> None:
    """Nothing on this host expires: any new secret is as good as the old one."""
    session.outbox.method(0, spec.Connection.UpdateSecretOk())


def ignore(session: Session, method: Any) -> None:
    """Notices that need no answer."""


CONNECTION[spec.Connection.Close] = close
CONNECTION[spec.Connection.CloseOk] = close_ok
CONNECTION[spec.Connection.UpdateSecret] = update_secret
CONNECTION[spec.Connection.Blocked] = ignore
CONNECTION[spec.Connection.Unblocked] = ignore

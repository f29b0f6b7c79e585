"""Which kind of handle a queue gets.

Owns: the choice.
Must not know: what the kinds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker.belled import BelledHandle
from haypile.broker.foreign import ForeignHandle
from haypile.broker.queue import QueueHandle
from haypile.broker.raw import is_foreign

if TYPE_CHECKING:
    from haypile.broker.entities import Queue
    from haypile.broker.session import Session


def make_handle(session: Session, queue: Queue) -> QueueHandle:
    """The session's handle of ``queue``."""
    if is_foreign(queue.arguments):
        return ForeignHandle(session, queue)
    handle = QueueHandle(session.vhost, queue) if session.vhost.lanes.pollable else BelledHandle(session, queue)
    handle.bodies = session.bodies
    return handle

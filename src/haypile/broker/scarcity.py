"""Consuming where memory is full.

Owns: what a consumer does that finds no room for the little that taking a message out needs.
Must not know: how room is measured (``hay.room``), publishers (``pressure``).

Taking out needs pages, too (``hay.room`` keeps some back, and gives them up the first time that a transaction
finds none), and acknowledging consumers need a landing. Consumers go on while publishers are held back; where
something else has filled the file system to its last byte, they try again once a second.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pika import spec

from haypile.hay.errors import OutOfRoom
from haypile.lanes.errors import NoRoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haypile.broker.source import Source
    from haypile.broker.taken import Fresh, Landed, Taken

#: Methods that change nothing when their transaction fails. It may find room at the second attempt: what was kept
#: back for such a case has been given up by the first.
REPEATABLE = frozenset(
    (
        spec.Queue.Declare,
        spec.Queue.Delete,
        spec.Queue.Purge,
        spec.Queue.Bind,
        spec.Queue.Unbind,
        spec.Exchange.Declare,
        spec.Exchange.Delete,
        spec.Exchange.Bind,
        spec.Exchange.Unbind,
        spec.Basic.Consume,
        spec.Basic.Get,
    )
)

LOGGER = logging.getLogger("haypile")


def take(source: Source, budget: int, no_ack: bool) -> Sequence[Taken | Fresh | Landed]:
    """``Source.take``; nothing until the next look around, where there is no room."""
    try:
        try:
            return source.take(budget, no_ack)
        except OutOfRoom:
            # What was kept back for consumers has been given up: it is there now.
            return source.take(budget, no_ack)
    except (OutOfRoom, NoRoom) as error:
        LOGGER.warning("consumers of queue %r wait for room: %s", source.queue.name, str(error))
        # A lane that stays readable would keep the loop awake.
        source.unwatch()
        source.blocked = source.idle = True
        return []

"""A message in hand: taken from its queue, on its way to a client.

Owns: what is known of it.
Must not know: where it came from, what becomes of it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from haypile.broker.message import Message

#: One that nothing else is to be known of: never delivered before, and held by no list and no slot. As its record;
#: as its bytes and the kernel's number when it came from somebody else's queue.
Fresh: TypeAlias = bytes | tuple[bytes, int]
#: One that lies in a slot of the landing, never delivered before: slot and record.
Landed: TypeAlias = tuple[int, bytes]
#: Flag of an entry of the hay: a client has had it before.
REDELIVERED = 1


class Taken(NamedTuple):
    """A message in hand, and who holds it."""

    #: As bytes; decoded already when it came from somebody else's queue.
    record: bytes | Message
    redelivered: bool
    #: Landing slot that holds it, -1 when none does.
    slot: int
    #: Its number in the session's taken list, 0 when it is not there.
    number: int
    order: bytes
    #: Deliveries before this one that ended in a requeue (quorum queues count them).
    deliveries: int

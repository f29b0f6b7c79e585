"""How large a lane may be.

Owns: the kernel's limits for POSIX message queues and the choice of a lane's size.
Must not know: what a lane is for.

A user's POSIX queues share RLIMIT_MSGQUEUE, 819,200 bytes by default; a queue costs exactly
``maxmsg * (msgsize + 96)`` of it (measured) until it is unlinked and closed everywhere. A new
lane takes at most a quarter of what is left, so that the hundredth queue still gets one; and when it is made
there must be room for three more, as far as a single queue can show it: what lanes that were removed still take,
until the last process has closed them, is not known. The smallest of ten messages may take half of what is left: a
lane with fewer of them than the others of a fan-out would hold up all of them.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Bytes of the limit that each message costs on top of its size (struct msg_msg and a pointer).
MESSAGE_COST = 96

#: (maxmsg, msgsize), best first. The default limits of a queue are 10 messages of 8192 bytes. The
#: last carries no records, it only wakes sleepers.
SIZES: tuple[tuple[int, int], ...] = ((10, 8192), (10, 4096), (10, 2048), (10, 1024), (10, 512), (4, 512), (1, 16))

#: Lanes that cost no more (bytes) are made wherever there is room; for others there must be room for so many more.
SMALL, SPARE = 10 * (512 + MESSAGE_COST), 3

_PROC = Path("/proc/sys/fs/mqueue")


class LaneRoom(NamedTuple):
    """What is known of the room for lanes."""

    #: RLIMIT_MSGQUEUE, bytes; -1: unlimited.
    limit: int
    #: Bytes that known lanes cost.
    used: int
    #: fs.mqueue.msg_max and msgsize_max.
    maxmsg: int
    msgsize: int
    #: Messages, and their bytes, that a lane must have; None: whatever can be had.
    least: tuple[int, int] | None = None

    @classmethod
    def measure(cls, lanes: Iterable[tuple[int, int]] = ()) -> LaneRoom:
        """The room beside ``lanes``, which are (maxmsg, msgsize)."""
        limit = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0]
        return cls(
            limit=-1 if limit == resource.RLIM_INFINITY else limit,
            used=sum(cost(maxmsg, msgsize) for maxmsg, msgsize in lanes),
            maxmsg=_limit("msg_max", 10),
            msgsize=_limit("msgsize_max", 8192),
        )

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Sizes worth trying, best first."""
        left = self.limit - self.used
        tried = set()
        fewest, shortest = self.least or (0, 0)
        for wanted, size in SIZES:
            fitting = min(wanted, self.maxmsg), min(size, self.msgsize)
            if fitting[0] < fewest or fitting[1] < shortest:
                continue
            takes = cost(*fitting)
            if fitting not in tried and (self.limit < 0 or takes * (2 if takes == SMALL else 4) <= left):
                tried.add(fitting)
                yield fitting

    def spare(self, maxmsg: int, msgsize: int) -> int:
        """Message size of a queue of ``maxmsg`` for which there must be room beside a lane of this size; 0: none."""
        if self.limit < 0 or cost(maxmsg, msgsize) <= SMALL:
            return 0
        return min(SPARE * (msgsize + MESSAGE_COST) - MESSAGE_COST, self.msgsize)


def cost(maxmsg: int, msgsize: int) -> int:
    """Bytes of RLIMIT_MSGQUEUE that a queue of this size takes."""
    return maxmsg * (msgsize + MESSAGE_COST)


def _limit(name: str, default: int) -> int:
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return default

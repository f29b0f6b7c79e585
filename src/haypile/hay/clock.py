"""The clocks of a process, in one place so that a test can put its own there.

Owns: reading the machine's clocks.
Must not know: what is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from haypile.hay.layout import OFFSET_ROW

if TYPE_CHECKING:
    from haypile.hay.store import Hay
    from haypile.hay.txn import WriteTxn


class Clock:
    """What time it is."""

    __slots__ = ("monotonic", "now", "wall")

    def __init__(
        self,
        now: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        #: ns of the store's clock: the same in all processes of a vhost (``Hay.now``).
        self.now = now
        #: Seconds of the clock that timers of event loops use.
        self.monotonic = monotonic
        #: Seconds since 1970.
        self.wall = wall


def start_after(hay: Hay, txn: WriteTxn, latest: int) -> None:
    """Have the clock of a store that is being filled say no time up to ``latest`` (ns) any more."""
    hay.offset = max(hay.offset, latest + 1 - time.monotonic_ns())
    txn.put_internal(OFFSET_ROW, hay.offset.to_bytes(8, "big", signed=True))

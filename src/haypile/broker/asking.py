"""Asking the kernel for room that it did not have.

Owns: when it is asked again.
Must not know: for what.
"""

from __future__ import annotations

#: Seconds until it is asked again: after it had room, and at most; it doubles each time that it has none.
SOON, LATE = 0.01, 5.0


class Asking:
    """One process's questions for lanes of one vhost: fewer and fewer while they are in vain."""

    __slots__ = ("due", "pause")

    def __init__(self) -> None:
        #: Not before (monotonic seconds).
        self.due = 0.0
        self.pause = SOON

    @property
    def vain(self) -> bool:
        """Whether the last one was."""
        return self.pause > SOON

    def done(self, now: float, *, got: bool) -> None:
        """It was asked, and had room or not; ``got``, too, where nothing was wanted."""
        self.pause = SOON if got else min(2 * self.pause, LATE)
        self.due = now + self.pause

"""Backoff: what is in vain is left out for a while, twice as long after each time.

Owns: how often it is left out.
Must not know: what it is, or the time.

A try that pays is worth its price even where every second one is in vain; one that never pays costs next to nothing
after a few times. It is tried again all the same: what it depends on (who else wants the processor, how fast a
stream is) does not say when it changes.
"""

from __future__ import annotations


class Backoff:
    """Whether to try again."""

    __slots__ = ("_after", "_first", "_left", "_most")

    def __init__(self, most: int, first: int = 1) -> None:
        """So many are left out after the ``first`` try in vain, and at ``most``."""
        self._first, self._most = first, most
        #: How many are left out still, and how many were after the last try in vain.
        self._left = self._after = 0

    def leaves_out(self) -> bool:
        """Whether this one is left out; to be asked once for each."""
        if self._left:
            self._left -= 1
            return True
        return False

    def in_vain(self) -> None:
        """A try was."""
        self._left = self._after = min(max(2 * self._after, self._first), self._most)

    def paid(self) -> None:
        """A try was worth while: after the next one in vain as many are left out as after the last one."""
        self._after >>= 1

    def reset(self) -> None:
        """Things have changed: the next one in vain is the first."""
        self._after = 0

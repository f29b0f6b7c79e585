"""How long a publisher may wait for those who consume.

Owns: the time that one session has left to wait for room in one queue's lane.
Must not know: lanes, gates.

A full lane is waited for because its consumer is most likely running, and a detour through the hay costs both more than
the wait. But a consumer that takes its time with each message would slow its publishers down to its own pace, which
RabbitMQ does not do. So each message earns its publisher a time to wait, longer than the detour takes; who has used up
what it earned goes through the hay, until the consumers have caught up and messages have earned some more.
"""

from __future__ import annotations

#: Seconds to wait that a message earns; the most that may be saved up; and less than which is not worth a wait.
EACH, MOST, LEAST = 0.0001, 0.02, 0.0005


class Allowance:
    """One session's, for one queue."""

    __slots__ = ("_left", "_published")

    def __init__(self) -> None:
        self._left = MOST
        self._published = 0

    def left(self, published: int) -> float:
        """Seconds that may be waited now; 0: none. ``published``: messages to the queue, from the beginning."""
        left = min(MOST, self._left + (published - self._published) * EACH)
        self._left, self._published = left, published
        return left if left >= LEAST else 0.0

    def spend(self, seconds: float) -> None:
        """It was waited for so long."""
        self._left -= seconds

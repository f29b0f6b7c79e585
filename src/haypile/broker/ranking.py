"""Which of a session's consumers may be given messages, seen against those of other sessions.

Owns: single active consumers and consumer priorities
(https://www.rabbitmq.com/docs/consumers#single-active-consumer, /consumer-priority).
Must not know: credit, lanes, deliveries.

Consumers of one queue in several sessions each take messages for themselves; so one of lower
priority must hold back while one of higher priority has credit. Whether it has is written in its
row, but only where priorities differ: queues whose consumers are all alike pay one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haypile.broker.consumer import Consumer
    from haypile.broker.entities import Queue
    from haypile.broker.rows import ConsumerKey, ConsumerRow


class Ranking:
    """A session's view of who may receive from a queue."""

    __slots__ = ("even", "floor", "known", "mixed", "queue", "session", "single")

    def __init__(self, session: int, queue: Queue) -> None:
        self.session = session
        self.queue = queue
        self.single = queue.args.single_active_consumer
        #: The consumers that ``even`` is about.
        self.known: dict[ConsumerKey, ConsumerRow] | None = None
        #: Everybody may receive.
        self.even = False
        #: Priorities differ among the queue's consumers.
        self.mixed = False
        #: Highest priority of other sessions' consumers that have credit.
        self.floor = -(1 << 31)

    def plain(self) -> bool:
        """Whether everybody may receive."""
        if self.queue.consumers is not self.known:
            self._learn()
        return self.even

    def _learn(self) -> None:
        # The dict is replaced whenever a consumer comes, goes or changes.
        known = self.known = self.queue.consumers
        self.mixed = len({row.priority for row in known.values()}) > 1
        self.even = not (self.mixed or self.single)
        self.floor = max(
            (row.priority for row in known.values() if row.session != self.session and not row.blocked),
            default=-(1 << 31),
        )

    def may(self, consumer: Consumer) -> bool:
        """Whether ``consumer`` may receive now. After ``plain`` was asked."""
        if self.single:
            return self.queue.active == (self.session, consumer.channel.number, consumer.tag)
        return consumer.priority >= self.floor

    def others_below(self, priority: int) -> set[int]:
        """Sessions with consumers of lower priority: they may receive when we cannot."""
        return {
            row.session
            for row in self.queue.consumers.values()
            if row.session != self.session and row.priority < priority
        }

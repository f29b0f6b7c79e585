"""A consumer of a channel: its tag, what it may still be given, what it holds.

Owns: credit (basic.qos) of one consumer.
Must not know: lanes, the store, other sessions.

RabbitMQ's reading of basic.qos is the rule (https://www.rabbitmq.com/docs/consumer-prefetch):
global=False sets the limit of each consumer started afterwards, global=True one limit shared
by all consumers of the channel; a consumer with no_ack has no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from haypile.broker.message import reader

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
    from haypile.broker.rows import ConsumerKey
    from haypile.broker.source import Source

#: Credit of a consumer that has no limit.
UNLIMITED = 1 << 30


class Consumer:
    """One basic.consume."""

    __slots__ = (
        "arguments",
        "channel",
        "exclusive",
        "limit",
        "no_ack",
        "priority",
        "read",
        "read_all",
        "source",
        "tag",
        "unacked",
    )

    def __init__(
        self,
        channel: Channel,
        source: Source,
        tag: str,
        *,
        no_ack: bool,
        exclusive: bool,
        limit: int,
        priority: int,
        arguments: dict[str, Any],
    ) -> None:
        self.channel = channel
        self.source = source
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.limit = limit
        self.priority = priority
        self.arguments = arguments
        bodies = channel.session.bodies
        self.read, self.read_all = reader(channel.session.nonce, bodies.take if no_ack else bodies.look)
        self.unacked = 0

    @property
    def key(self) -> ConsumerKey:
        """What tells it from the queue's other consumers, in its row."""
        return (self.channel.session.id, self.channel.number, self.tag)

    def credit(self) -> int:
        """How many messages may be sent to it now."""
        if self.no_ack:
            return UNLIMITED
        credit = self.limit - self.unacked if self.limit else UNLIMITED
        shared = self.channel.global_limit
        if shared:
            credit = min(credit, shared - self.channel.consumers_unacked)
        return max(credit, 0)

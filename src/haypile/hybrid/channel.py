"""A channel of a hybrid connection: one sequence of tags for the program, one for each side.

Owns: delivery tags, confirms and consumer tags, as the program sees them and as each side does.
Must not know: how methods travel.

A side is None (this host) or the name of a RabbitMQ.
"""

from __future__ import annotations

from typing import Any

from pika import spec

Side = str | None


class Channel:
    """Both sides of one channel number."""

    def __init__(self, number: int) -> None:
        self.number = number
        #: RabbitMQs on which this channel is open, too.
        self.remotes: list[str] = []
        self.confirming = False
        self.transactional = False
        #: What a side that joins later is told.
        self.qos: dict[bool, Any] = {}
        self.consumers: dict[str, tuple[Side, bool]] = {}
        #: The side of the queue declared last, which an empty name means.
        self.last: Side = None
        #: Whether the get under way wants no acknowledgement.
        self.getting = False
        #: The side that closed it and is to be answered; False: it is open.
        self.closed_by: Side | bool = False
        self.ending = False
        self._tag = 0
        self._tags: dict[int, tuple[Side, int]] = {}
        self._published = 0
        self._counts: dict[Side, int] = {}
        self._unconfirmed: dict[int, None] = {}
        self._sequences: dict[Side, dict[int, int]] = {}

    # -- deliveries -------------------------------------------------------------------------

    def delivered(self, side: Side, tag: int, no_ack: bool) -> int:
        """The program's tag of a delivery."""
        self._tag += 1
        if not no_ack:
            self._tags[self._tag] = (side, tag)
        return self._tag

    def settle(self, tag: int, multiple: bool) -> list[tuple[Side, int]] | None:
        """The side and its tag for each side that an acknowledgement is for; None: the tag is unknown."""
        if not multiple:
            found = self._tags.pop(tag, None)
            return None if found is None else [found]
        if tag and tag not in self._tags:
            return None
        last: dict[Side, int] = {}
        # Tags grow, on each side and for the program.
        for one in list(self._tags):
            if tag and one > tag:
                break
            side, its = self._tags.pop(one)
            last[side] = its
        return list(last.items())

    def forget_deliveries(self) -> None:
        """After a recover they are delivered again, with new tags."""
        self._tags.clear()

    # -- confirms ---------------------------------------------------------------------------

    def published(self, side: Side) -> None:
        """A message went to ``side``."""
        if self.confirming:
            self._published += 1
            count = self._counts[side] = self._counts.get(side, 0) + 1
            self._unconfirmed[self._published] = None
            self._sequences.setdefault(side, {})[count] = self._published

    def confirmed(self, side: Side, method: Any) -> list[Any]:
        """What the program is told of a confirm of ``side``."""
        sequence = self._sequences.get(side, {})
        if method.multiple:
            tags = []
            for tag in sequence:
                if tag > method.delivery_tag:
                    break
                tags.append(tag)
        else:
            tags = [method.delivery_tag]
        found = [sequence.pop(tag) for tag in tags if tag in sequence]
        for one in found:
            del self._unconfirmed[one]
        if not found:
            return []
        kind = spec.Basic.Ack if isinstance(method, spec.Basic.Ack) else spec.Basic.Nack
        oldest = next(iter(self._unconfirmed), found[-1] + 1)
        if len(found) > 1 and oldest > found[-1]:
            return [kind(delivery_tag=found[-1], multiple=True)]
        return [kind(delivery_tag=one) for one in found]

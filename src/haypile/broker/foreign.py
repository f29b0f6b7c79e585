"""AMQP queues that are kernel queues of some other program: ``x-kernel-queue``.

Owns: taking from and sending to the kernel queue.
Must not know: kinds of kernel queues (``lanes.foreign``), what raw bytes look like as a message (``raw``),
how a publisher is held back (``pressure``).

The other program's reader expects every message in the kernel, so publishing goes there or waits, and
nothing of ours (tokens, record headers) ever gets in. Consumers take what was requeued from the hay
first (its gate is closed then, which publishers do not care about), then from the kernel. What a
transaction or a dead letter puts into the hay is sent on by ``ForeignHandle.forward`` while nobody here
consumes. Deleting the AMQP queue leaves the kernel queue as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pika.spec import BasicProperties

from haypile.broker import message
from haypile.broker.errors import AccessRefused, AMQPError, NotFound, PreconditionFailed
from haypile.broker.holdings import RESERVE
from haypile.broker.queue import QueueHandle
from haypile.broker.raw import address_of, deliveries, message_of, number_of
from haypile.broker.taken import REDELIVERED, Fresh, Taken
from haypile.hay.gates import GENERATION
from haypile.lanes import foreign
from haypile.lanes.attach import open_foreign
from haypile.lanes.errors import LaneError, LaneGone, TooBig
from haypile.lanes.foreign import ForeignLane

if TYPE_CHECKING:
    from haypile.broker.entities import Queue
    from haypile.broker.ports import Content
    from haypile.broker.session import Session
    from haypile.broker.source import Source

LOGGER = logging.getLogger("haypile")

#: Largest message of a queue that can be attached, bytes: a landing's slot.
LARGEST = 8192
#: Messages sent on in one transaction, at most.
FORWARD = 100


def translate(queue: str, error: LaneError) -> AMQPError:
    """What the kernel says as an AMQP error (channel scope)."""
    if isinstance(error, foreign.NotAllowed):
        return AccessRefused(f"ACCESS_REFUSED - queue '{queue}': {error}")
    if isinstance(error, (foreign.NotThere, LaneGone)):
        return NotFound(f"NOT_FOUND - queue '{queue}': {error}")
    return PreconditionFailed(f"PRECONDITION_FAILED - queue '{queue}': {error}")


# -- the queue --------------------------------------------------------------------------------


class ForeignHandle(QueueHandle):
    """A session's way to a queue of somebody else's."""

    __slots__ = ("address", "done", "kernel", "prefix", "session")

    def __init__(self, session: Session, queue: Queue) -> None:
        super().__init__(session.vhost, queue, foreign=True)
        self.session = session
        self.durable = False
        self.address = address_of(queue.arguments)
        self.kernel: ForeignLane | None = None
        self.prefix = message.encode_prefix("", queue.name)
        #: The message that is being published is in the kernel queue.
        self.done = False
        session.pressure.foreign = True

    def attach(self, create: bool = False) -> ForeignLane:
        """The kernel queue. Raises NotFound, AccessRefused, PreconditionFailed."""
        try:
            return self.open(create)
        except LaneError as error:
            raise translate(self.queue.name, error) from error

    def open(self, create: bool = False) -> ForeignLane:
        """The same, with the lanes' errors. ``create``: make it, if it is not there and has sizes."""
        if self.kernel is None:
            address = self.address if create else self.address._replace(maxmsg=None, msgsize=None)
            lane = open_foreign(address)
            if lane.msgsize > LARGEST:
                lane.close()
                raise LaneError(f"{address} has messages of {lane.msgsize} bytes; haypile takes {LARGEST}")
            self.kernel = lane
        return self.kernel

    def declare(self) -> None:
        """At queue.declare: attach, or make it."""
        self.attach(create=True)

    # -- as other queues ----------------------------------------------------------------------

    def current_lane(self) -> Any:
        """See ``QueueHandle``; None while the kernel queue is gone."""
        self.generation = self.words[self.base + GENERATION]
        try:
            return self.open()
        except LaneError:
            return None

    def close_lane(self) -> None:
        """See ``QueueHandle``."""
        if self.kernel is not None:
            self.kernel.close()
            self.kernel = None
        self.generation = -1

    def retired(self) -> bool:
        """See ``QueueHandle``: lanes of ours are."""
        return False

    @property
    def changing(self) -> bool:
        """See ``QueueHandle``: lanes of ours do (an odd generation is of a queue that had the slot before)."""
        return False

    def removed(self) -> bool:
        """Whether its owner removed it, perhaps to make it anew."""
        return self.kernel is not None and self.kernel.gone()

    def open_gate(self) -> None:
        """See ``QueueHandle``: nothing is in the hay."""
        self.words[self.base] = 0

    def leave_token(self, *, behind: bool = False) -> bool:
        """See ``QueueHandle``: nothing of ours gets into somebody else's queue."""
        return False

    def outside(self) -> int:
        """See ``QueueHandle``."""
        lane = self.current_lane()
        return 0 if lane is None else lane.depth()

    def purge_outside(self) -> int:
        """See ``QueueHandle``."""
        count = 0
        lane = self.current_lane()
        while lane is not None and lane.receive() is not None:
            count += 1
        return count

    def look(self, taker: Source | None) -> None:
        """Once a second: its owner may have removed it, or made it anew."""
        if self.removed():
            if taker is not None:
                taker.unwatch()
            self.close_lane()
        if taker is not None and self.kernel is None:
            taker.watch()
        if self.closed and not self.has_consumers():
            self.forward()

    # -- sending ------------------------------------------------------------------------------

    def offer(self, record: bytes, patience: float) -> bool:
        """See ``QueueHandle``: ``send`` came before; a transaction's messages go through the hay."""
        done, self.done = self.done, False
        return done

    def was_sent(self) -> bool:
        """See ``QueueHandle``."""
        return self.offer(b"", 0)

    def send(self, properties: BasicProperties | None, body: bytes, patience: float) -> bool:
        """Send a raw message, unless this one was; False when the queue is full. Raises AMQPError."""
        if self.done:
            return True
        self.done = self.try_to_send(properties, body, patience)
        return self.done

    def try_to_send(self, properties: BasicProperties | None, body: bytes, patience: float) -> bool:
        """The same, whatever was sent."""
        if self.closed and not self.has_consumers() and not self.forward():
            return False
        lane = self.kernel or self.attach()
        number = 0 if properties is None and lane.kind == foreign.POSIX else number_of(lane.kind, properties)
        try:
            return lane.send(body, number) if self.own_consumers else lane.send_wait(body, number, patience)
        except LaneError as error:
            if isinstance(error, LaneGone):
                # Its owner may have made it anew.
                self.close_lane()
                return self.attach().send(body, number)
            raise translate(self.queue.name, error) from error

    def forward(self) -> bool:
        """See ``QueueHandle``: what a transaction or a dead letter put into the hay, not what came back.

        True when nothing of that is left.
        """
        if not self.closed or self.queue.deleted:
            return True
        session = self.session
        lane = self.current_lane()
        if lane is None:
            return False
        with session.vhost.hay.write() as txn:
            session.vhost.topology.sync(txn)
            for entry in txn.entries(self.id, FORWARD):
                if entry.flags & REDELIVERED:
                    continue
                if not self.send_on(lane, txn.record(entry)):
                    break
                txn.remove(self.id, entry.order)
            if not txn.count(self.id)[0]:
                txn.on_commit.append(self.open_gate)
                return True
            return all(entry.flags & REDELIVERED for entry in txn.entries(self.id, FORWARD))

    def send_on(self, lane: ForeignLane, record: bytes) -> bool:
        """Send a stored message as it would have been sent; False when it must wait."""
        try:
            decoded = message.decode(record, self.session.nonce)
            return lane.send(decoded.body, number_of(lane.kind, decoded.properties))
        except (message.Foreign, TooBig, AMQPError) as error:
            self.session.set_aside(self.queue.name, record, error)
            return True
        except LaneError:
            return False

    # -- receiving ----------------------------------------------------------------------------

    def take(self, taker: Source, budget: int, no_ack: bool) -> Sequence[Taken | Fresh]:
        """``Source.take`` with an open gate."""
        try:
            return self.take_from(self.open(), taker, budget, no_ack)
        except LaneError as error:
            # Gone, or not for us to read: the look once a second tries again.
            LOGGER.debug("queue %r: its kernel queue is not to be had: %s", self.queue.name, str(error))
            taker.idle = True
            return []

    def take_from(self, lane: ForeignLane, taker: Source, budget: int, no_ack: bool) -> Sequence[Taken | Fresh]:
        """The same, from its lane. Raises LaneError."""
        if no_ack:
            found = lane.receive_some(budget)
            if len(found) < budget:
                taker.idle = not self.closed
            return found
        got: list[Taken] = []
        land = self.lander(lane)
        landing = self.session.holdings.landing
        if landing.free <= RESERVE:
            self.session.holdings.spill()
        try:
            for _ in range(min(budget, landing.free - RESERVE)):
                taken = land()
                if taken is None:
                    taker.idle = not self.closed
                    break
                got.append(taken)
        except LaneError:
            # The next attempt meets it again; what came before is in hand.
            if not got:
                raise
        return got

    def deliveries(self, consumer: str, last: int, messages: Sequence[Any]) -> list[Content]:
        """See ``QueueHandle``."""
        return deliveries(self.queue.name, self.address.kind, messages, consumer, last)

    def lander(self, lane: ForeignLane) -> Callable[[], Taken | None]:
        """Takes messages into slots of the landing."""
        session, name, kind = self.session, self.queue.name, lane.kind
        landing = session.holdings.landing

        def land() -> Taken | None:
            slot = landing.take_raw(lane, self.id)
            if slot is None:
                return None
            body, number, inferred = landing.message(slot)
            return Taken(message_of(session, name, body, kind, number, inferred), False, slot, 0, b"", 0)

        return land

    def get(self, no_ack: bool) -> Taken | None:
        """For basic.get, when the hay has nothing. Raises AMQPError."""
        lane = self.attach()
        try:
            if not no_ack:
                return self.lander(lane)()
            found = lane.receive()
            if found is None:
                return None
            one = message_of(self.session, self.queue.name, found[0], lane.kind, found[1], False)
            return Taken(one, False, -1, 0, b"", 0)
        except LaneError as error:
            raise translate(self.queue.name, error) from error

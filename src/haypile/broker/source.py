"""Taking messages from one queue for a session's consumers.

Owns: the consuming half of the lane protocol (docs/architecture.md), the dealing of messages
to the session's own consumers in turn, and when to sleep.
Must not know: AMQP replies, how a message reaches pika.

Invariants:
- A message taken for manual acknowledgement is in the landing or in the session's taken list,
  both of which outlive this process, before the application can see it.
- A source that stops taking while the hay is not empty leaves a token in the lane.
- ``idle`` is set only after the gate was seen open and then the lane empty (or, without a lane,
  the hay empty): whatever comes later makes a descriptor readable or rings our bell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from haypile.broker import aging, backlog, message, scarcity
from haypile.broker.backlog import BATCH
from haypile.broker.declare.consumers import mark_blocked
from haypile.broker.holdings import RESERVE
from haypile.broker.message import FLAGS_AT, HEADER_SIZE, PERSISTENTS
from haypile.broker.queue import SHUT, QueueHandle
from haypile.broker.ranking import Ranking
from haypile.broker.stride import Stride
from haypile.broker.taken import Fresh, Landed, Taken
from haypile.hay.gates import CONSUMERS, GENERATION
from haypile.lanes.errors import LaneGone
from haypile.lanes.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haypile.broker.consumer import Consumer
    from haypile.broker.session import Session

#: With neighbours, and no acknowledgements: one message, and of those behind it in the lane as many as each would get.
FAIR = 0
#: Messages delivered before the loop gets its turn (timers, other descriptors, acks); 16 KiB count as one, too.
TURN, LARGE = 64, 14


class Source:
    """One queue, as far as one session consumes from it."""

    __slots__ = (
        "blocked",
        "consumers",
        "handle",
        "idle",
        "in_turn",
        "journals",
        "keeps",
        "queue",
        "ranking",
        "said",
        "session",
        "stride",
        "watched",
    )

    def __init__(self, session: Session, handle: QueueHandle) -> None:
        self.session = session
        self.handle = handle
        self.queue = handle.queue
        self.consumers: list[Consumer] = []
        self.idle = self.blocked = False
        self.watched = -1
        self.in_turn = False  # the kernel wakes one of those that sleep so
        self.ranking = Ranking(session.id, self.queue)
        self.said = False  # the rows of our consumers say that they have no credit
        #: Flags of records that the journal is to have before a client does; and some came of late.
        self.journals = session.publisher.journals if handle.durable and not handle.foreign else 0
        self.keeps = False
        self.stride = Stride(session.vhost.clock.monotonic)

    # -- consumers in turn ------------------------------------------------------------------

    def add(self, consumer: Consumer) -> None:
        """A consumer joins the line; those of higher priority stay in front."""
        self.consumers.append(consumer)
        self.consumers.sort(key=lambda one: -one.priority)
        self.handle.own_consumers = len(self.consumers)
        self.session.bodies.expect()
        self.idle = self.blocked = False

    def remove(self, consumer: Consumer) -> None:
        """A consumer leaves."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
            self.handle.own_consumers = len(self.consumers)

    def next_consumer(self) -> Consumer | None:
        """Whose turn it is: the first in the line with credit; None when nobody has any."""
        consumers = self.consumers
        ranking = self.ranking
        plain = ranking.even if self.queue.consumers is ranking.known else ranking.plain()
        for candidate in consumers:
            if (candidate.no_ack or candidate.credit()) and (plain or ranking.may(candidate)):
                return candidate
        return None

    def served(self, consumer: Consumer) -> None:
        """It was given a message, and goes to the end of the line (of those of its priority)."""
        consumers = self.consumers
        consumers.remove(consumer)
        consumers.append(consumer)
        if self.ranking.mixed:
            consumers.sort(key=lambda one: -one.priority)

    def stir(self) -> None:
        """There may be something to take again."""
        self.idle = False
        if self.blocked:
            self.blocked = False
            self.watch()

    # -- delivering -------------------------------------------------------------------------

    def pump(self, most: int = TURN, known: Consumer | None = None, *, done: bool = False) -> None:
        """Deliver up to ``most`` messages to consumers that have credit; ``known``: whose turn it is.

        ``done``: what was delivered before does not wait for the loop any more. (Of a blocking front it is taken for
        granted: only a callback that turns its own connection finds others waiting.)
        """
        words, base = self.handle.words, self.handle.base
        stride = self.stride
        if words[base + CONSUMERS] > 1:
            stride.begin(done or not self.session.sliced)
        while most > 0:
            if self.queue.deleted or not self.consumers:
                self.idle = True
                return
            consumer, known = known or self.next_consumer(), None
            if consumer is None:
                self.block()
                return
            if self.said:
                self.say_blocked(False)
            count = len(self.consumers)
            budget = 1
            if count == 1:
                if words[base + CONSUMERS] <= 1:
                    budget = BATCH if consumer.no_ack else min(consumer.credit(), BATCH)
                elif consumer.no_ack:
                    budget = FAIR
                elif not self.ranking.mixed:
                    budget = min(consumer.credit(), 1 + stride.quick)
            taken: Any = scarcity.take(self, budget, consumer.no_ack)
            if not taken:
                if self.idle:
                    stride.found_nothing()
                    return
                continue
            channel, first = consumer.channel, taken[0]
            deliver: Any
            if first.__class__ is Taken:
                deliver, record = channel.deliver, first.record
            elif consumer.no_ack:
                deliver, record = channel.deliver_fresh, first
            else:
                deliver, record = channel.deliver_landed, first[1]
            most -= len(taken) + (len(taken) * len(record) >> LARGE)
            stride.took(len(taken))
            if count > 1:
                self.served(consumer)
            deliver(consumer, taken)
            if first.__class__ is Taken and len(taken) < budget and not words[base] and not self.keeps:
                # All that the store had: its publisher may wait for the ack. The lane is looked at before a sleep.
                return
            if self.idle:
                self.idle = budget == 1 or not stride.looks_again(len(taken))
                return
        if words[base]:
            self.handle.leave_token()

    def block(self) -> None:
        """Nobody has credit: others must be able to take what is left."""
        self.blocked = True
        if self.handle.closed:
            self.handle.leave_token()
        if self.ranking.mixed and not self.said:
            self.say_blocked(True)

    def say_blocked(self, blocked: bool) -> None:
        """Let consumers of lower priority elsewhere know whether they may receive. ``Busy``: the next look says it."""
        below: set[int] = set()
        for consumer in self.consumers:
            below |= self.ranking.others_below(consumer.priority)
        if not below:
            self.said = self.said and blocked
            return
        session = self.session
        with session.holdings.write() as moving:
            context = session.context(moving)
            for consumer in self.consumers:
                mark_blocked(context, self.queue, consumer.key, blocked)
        self.said = blocked
        if blocked:
            session.ring(below)

    def take(self, budget: int, no_ack: bool) -> Sequence[Taken | Fresh | Landed]:
        """Up to ``budget`` messages (or a ``FAIR`` part), in order. An empty list with ``idle`` unset: try again."""
        handle = self.handle
        if handle.ages and aging.is_overdue(handle):
            self.session.due.settle_late()
        if handle.words[handle.base]:
            self.keeps = False
            return backlog.serve(self, budget, no_ack)
        if handle.foreign:
            found: Sequence[Taken | Fresh | Landed] = handle.take(self, budget or 1, no_ack)
            return found
        lane = handle.lane
        if handle.words[handle.base + GENERATION] != handle.generation:
            lane = self.follow()
        if lane is None:
            return backlog.serve(self, budget, no_ack)
        fresh: list[Fresh] = []
        got: list[Landed] = []
        try:
            if no_ack:
                self.take_from_lane(lane, budget, fresh)
            else:
                self.land(lane, budget, got)
        except LaneGone:
            # What came before is in hand.
            handle.generation = -1
        if handle.words[handle.base] > SHUT and (fresh or got):
            # Somebody drains the lane who came after our look at the gate.
            self.idle = False
            told = backlog.join(self, fresh, got)
            if told:
                return told
        if got and self.journals:
            self.keeps = any(record[FLAGS_AT:HEADER_SIZE] in PERSISTENTS for _, record in got)
            if self.keeps:
                idle, self.idle = self.idle, False  # an error leaves them to the next look
                taken = self.session.holdings.keep(handle, got)
                self.idle = idle
                return taken
        return fresh or got

    def take_from_lane(self, lane: Lane, budget: int, got: list[Fresh]) -> None:
        """For consumers that do not acknowledge: what is received is gone from the kernel."""
        record = lane.receive()
        if record is None:
            self.idle = self.handle.may_sleep(lane)
        if not record:
            return
        got.append(record)
        left = lane.depth()  # mostly there was one message, and asking costs a quarter of a receive in vain
        if budget == FAIR:
            share = left // max(self.handle.words[self.handle.base + CONSUMERS], 1)
            # No more than there is: who sends goes on meanwhile. (Of other priorities somebody may have credit again.)
            budget = 1 + (share if self.ranking.mixed else max(share, min(left, self.stride.quick)))
        more = budget - 1
        while left and more:
            some = lane.receive_some(min(left, more))
            got += filter(None, some)
            if len(some) < min(left, more) or not all(some):
                return  # somebody else was faster, or left a token: it is to be looked at again
            more -= len(some)
            left = lane.depth() if more else 1
        if not left:
            self.idle = self.handle.may_sleep(lane)

    def land(self, lane: Lane, budget: int, got: list[Landed]) -> None:
        """For consumers that acknowledge: receive straight into slots that outlive us."""
        holdings = self.session.holdings
        landing = holdings.landing
        if landing.free <= RESERVE:
            holdings.spill()
        left, more = 1, min(budget, landing.free - RESERVE)
        while left and more > 0:
            for one in landing.take_some(lane, self.handle.id, min(left, more)):
                more -= 1
                slot, record = one
                if len(record) == landing.slot_bytes:
                    record = message.trim(record, self.session.nonce)
                    one = slot, record
                if record:
                    got.append(one)
                else:
                    landing.clear(slot)
                    more = -BATCH  # a token: the queue is to be looked at again
            left = lane.depth() or len(landing.late_of(self.handle.id))
        if not left and more >= 0:
            self.idle = self.handle.may_sleep(lane)

    def depth(self) -> int:
        """How much there is in the queue's lane."""
        handle = self.handle
        lane = handle.current_lane()
        try:
            return 0 if lane is None else lane.depth()
        except LaneGone:
            # Retired meanwhile: what was in it is in the hay, or about to be (the lock is held).
            handle.generation = -1
            return 1

    def follow(self) -> Lane | None:
        """The queue's lane, and our watch on it when it is another one than before."""
        handle = self.handle
        if handle.retired() or (self.watched < 0 and not self.blocked):
            self.watch()
        return handle.current_lane()

    # -- sleeping ---------------------------------------------------------------------------

    def watch(self) -> None:
        """Let the loop wake us when the lane is readable."""
        lane = self.handle.current_lane()
        fd = -1 if lane is None or lane.fd is None else lane.fd
        if fd != self.watched:
            self.unwatch()
            if fd >= 0:
                # Only among equals: whoever is woken must be one that may take what is there.
                self.in_turn = self.session.turns and self.ranking.plain() and not self.handle.foreign
                self.session.watch(fd, self, in_turn=self.in_turn)
                self.watched = fd
                # A publisher of this session may find out first that the lane is another one.
                self.handle.unwatch = self.unwatch

    def unwatch(self) -> None:
        """Stop it."""
        if self.watched >= 0:
            self.session.unwatch(self.watched)
            self.watched = -1
            self.in_turn = False
            self.handle.unwatch = None

    def was_faster(self) -> bool:
        """Whether somebody else has the token of a closed queue that woke us all; he leaves one for what is left."""
        handle = self.handle
        return handle.lane is not None and not handle.retired() and not self.depth()

    def on_ready(self) -> None:
        """The lane is readable."""
        consumer = self.next_consumer()
        if consumer is None:
            in_turn, self.blocked = self.in_turn, True
            self.unwatch()  # level-triggered: the loop would spin until credit comes back
            alone = in_turn and self.handle.others_consume() and self.depth()  # the kernel woke us and nobody else
            if alone and not self.handle.leave_token(behind=True):
                self.session.ring({key[0] for key in self.queue.consumers})
        elif not self.idle or not self.handle.words[self.handle.base] or not self.was_faster():
            self.idle = False
            self.pump(known=consumer)
        if self.idle and self.in_turn and self.handle.others_consume():  # next time it is somebody else's turn
            self.session.watch(self.watched, self, in_turn=True)

"""One queue as one session reaches it: its lane and its gate.

Owns: the session's own descriptor of the queue's lane, and the reading and writing of the
queue's words in the gate page.
Must not know: consumers' credit, channels, AMQP methods.

The protocol (docs/architecture.md): the gate is closed under the write lock before anything
goes into the hay, and opened only under the write lock when the queue's part of the hay is
empty. A lane that was retired while we sent into it is drained by us: the lane generation word
is read again after every send. Handles are never shared between sessions, so no lock is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from haypile.broker.allowance import Allowance
from haypile.broker.bodies import goes_apart
from haypile.broker.elsewhere import Elsewhere
from haypile.hay.counters import uncounted
from haypile.hay.gates import CLOSED, CONSUMERS, GENERATION, HEADER_WORDS, SLOT_WORDS, UNKNOWN
from haypile.hay.swath import LONGEST
from haypile.lanes.errors import LaneGone
from haypile.lanes.lane import Lane

if TYPE_CHECKING:
    from haypile.broker.bodies import Bodies
    from haypile.broker.entities import Queue
    from haypile.broker.vhost import Vhost
    from haypile.hay.swath import Swath
    from haypile.hay.txn import WriteTxn

#: Words of the queue's slot that the broker uses, beside those of ``gates``. EXPIRING: when the first look at its head
#: is due (``due``); NO_LOOK: messages may expire, and no look is known of.
EXPIRING, UNUSED_UNTIL = 4, 5
NO_LOOK = 1
#: There may be tokens in the lane. (6: ``belled.SLEEPERS``.)
TOKENS = 7
#: What stands in CLOSED: the gate is open; the hay has messages; it has such, or is about to, as were in the lane.
OPEN, SHUT, DRAINED = 0, 1, 2
#: Or which session may lay messages for the queue, and whether that has an end just now (``swaths``).
LAYING, GATHERING = 3, 4
TOKEN = b""
#: What stands for the gate page once a session is over.
NOTHING = memoryview(bytes(8)).cast("Q")
UNCOUNTED = uncounted()
#: After a vain wait for a lane, so many messages go to the hay without a wait.
IN_VAIN = 16
#: ns of a millisecond.
MS = 1_000_000
#: Of a shorter TTL the detour once each TTL would be most of what there is to do, ms.
LEAST_TTL = 100
#: A wait for a gate was worth it when so many messages went through it.
WORTH = 4
#: So many messages in the hay are soon gone; and how long a closed gate is waited for then, seconds.
LITTLE, PAUSE = 64, 0.002


class QueueHandle(Elsewhere):
    """A session's way to one queue."""

    __slots__ = (
        "ages",
        "allowance",
        "base",
        "bodies",
        "counts",
        "counts_deliveries",
        "doomed",
        "durable",
        "foreign",
        "generation",
        "id",
        "in_vain",
        "lane",
        "lanes",
        "laying",
        "own_consumers",
        "plain",
        "published",
        "queue",
        "rules",
        "stored",
        "swath",
        "unwatch",
        "vhost",
        "waited",
        "words",
    )

    def __init__(self, vhost: Vhost, queue: Queue, *, foreign: bool = False) -> None:
        self.vhost = vhost
        self.queue = queue
        self.id = queue.id
        vhost.hay.gates.ensure(queue.slot)
        self.words = vhost.hay.gates.words
        self.base = HEADER_WORDS + SLOT_WORDS * queue.slot
        #: What this session does to the queue (``hay.counters``); and the word for publishing, which a
        #: publisher has at hand.
        self.counts = uncounted()
        self.published = 0
        self.lane: Lane | None = None
        self.generation = -1
        #: Ends the loop's watch on the lane's descriptor, before that is closed.
        self.unwatch: Callable[[], None] | None = None
        #: Consumers of this very session: waiting for them would be waiting for ourselves.
        self.own_consumers = 0
        #: What the gate says while our session may lay messages for the queue, where; 0: it may not (``swaths``).
        self.laying = 0
        self.swath: Swath | None = None
        #: Messages put into the store, one by one, while nobody consumed.
        self.stored = 0
        #: Messages published when a gate was waited for the last time.
        self.waited = -WORTH
        self.in_vain = 0
        self.allowance = Allowance()
        #: An auto-delete queue that is emptied piece by piece goes with our consumer, whoever comes meanwhile.
        self.doomed = False
        #: The queue outlives a reboot, and with it its persistent messages.
        self.durable = queue.durable
        #: Where our session puts what no lane takes (``make_handle``).
        self.bodies: Bodies | None = None
        #: The messages are in a kernel queue of somebody else's (``foreign.ForeignHandle``).
        self.foreign = foreign
        #: A quorum queue tells its consumers how often a message was delivered before.
        self.counts_deliveries = queue.args.type == "quorum"
        self.adopt()

    def adopt(self) -> None:
        """Follow the queue's rules, which are new."""
        self.rules = rules = self.queue.args
        ttl = rules.message_ttl
        in_turn = (
            rules.max_length is None
            and rules.max_length_bytes is None
            and not rules.max_priority
            and not self.foreign
        )
        #: No rule of the queue's looks at its messages: first come, first served, for ever.
        self.plain = in_turn and ttl is None
        #: Messages may go through a lane of ours.
        self.lanes = in_turn and (ttl is None or ttl >= LEAST_TTL)
        if not self.plain:
            self.laying = 0
        #: How long messages in the lane may live, ns (``aging``); 0: for ever.
        self.ages = ttl * MS if ttl is not None and self.lanes else 0

    @property
    def pushes(self) -> bool:
        """Whether a consumer takes whatever comes: RabbitMQ would hand it every message at once, so
        that none is left for the queue's limits to count."""
        return any(row.no_ack or not row.prefetch for row in self.queue.consumers.values())

    # -- the gate ---------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether publishing goes to the hay."""
        return bool(self.words[self.base + CLOSED])

    def close_gate(self) -> None:
        """Send publishers to the hay. Under the write lock, before the commit."""
        if not self.words[self.base]:
            self.words[self.base] = SHUT

    def open_gate(self) -> None:
        """Let publishers use the lane. Under the write lock, after the commit, hay empty."""
        if self.queue.lane is not None:
            self.words[self.base] = OPEN

    def has_consumers(self) -> bool:
        """Whether any session consumes from the queue."""
        return bool(self.words[self.base + CONSUMERS])

    def others_consume(self) -> bool:
        """Whether other sessions consume from the queue."""
        return self.words[self.base + CONSUMERS] > self.own_consumers

    @property
    def changing(self) -> bool:
        """Whether the lane is on its way out (under the write lock: whoever retired it was killed)."""
        return bool(self.words[self.base + GENERATION] & 1)

    def leave(self) -> None:
        """The session is over: let go of the lane and of the gate page."""
        self.close_lane()
        self.bodies = None
        self.words = NOTHING
        self.laying, self.swath = 0, None
        self.counts = UNCOUNTED

    def begin_change(self) -> None:
        """The queue's lane is on its way out: nobody sends into it any more. Under the write lock."""
        self.words[self.base + GENERATION] |= 1

    def end_change(self) -> None:
        """The queue's lane came or went. Under the write lock, after the commit.

        An odd generation is one whose row may be about to change: a publisher that opened the lane by
        that row could send into it after it was drained (tests/model/lane_protocol.py found this).
        """
        words, at = self.words, self.base + GENERATION
        words[at] = (words[at] | 1) + 1 & UNKNOWN

    def mend(self, txn: WriteTxn) -> None:
        """Somebody was killed while the lane came or went: the queue has the lane its row names.

        Under the write lock, when ``changing``: until then no gate may be opened, since publishers would
        not notice that the generation moves on.
        """
        self.keep_lane(self.current_lane())
        txn.on_commit.append(self.end_change)

    @property
    def expiring(self) -> bool:
        """Whether a message with an expiry was ever put into the queue."""
        return bool(self.words[self.base + EXPIRING])

    def mark_expiring(self) -> None:
        """There is one now. Under the write lock."""
        if not self.words[self.base + EXPIRING]:
            self.words[self.base + EXPIRING] = NO_LOOK

    @property
    def unused_until(self) -> int:
        """When the queue expires unless it is used before, ns; 0: nobody said."""
        return self.words[self.base + UNUSED_UNTIL]

    def set_unused_until(self, when: int) -> None:
        """It was used just now."""
        self.words[self.base + UNUSED_UNTIL] = when

    # -- the lane ---------------------------------------------------------------------------

    def current_lane(self) -> Lane | None:
        """The queue's lane, opened anew when it changed; None when it has none."""
        generation = self.words[self.base + GENERATION]
        if generation != self.generation:
            self.vhost.topology.sync()
            self.close_lane()
            row = self.queue.lane
            if row is not None and not self.queue.deleted:
                self.lane = self.vhost.open_lane(row.name)
                if self.lane is None:
                    # Gone, or there is no descriptor left for it: the next look may find it.
                    return None
            self.generation = generation
        return self.lane

    def retired(self) -> bool:
        """Whether the lane we last used is not the queue's any more."""
        return self.words[self.base + GENERATION] != self.generation

    def close_lane(self) -> None:
        """Give our descriptor back (a lane's kernel memory is held until everyone has)."""
        if self.lane is not None:
            if self.unwatch is not None:
                self.unwatch()
            self.lane.close()
            self.lane = None
        self.generation = -1

    def offer(self, record: bytes, patience: float) -> bool:
        """Send ``record`` through the lane; False when it must go to the hay.

        ``patience`` (seconds; 0: not at all) is how long a full lane may be waited for: its consumer
        is most likely running, and waiting is cheaper for both than a detour through the hay.
        """
        words, base = self.words, self.base
        if words[base]:
            if words[base] == self.laying:
                return lay(self, record)
            if words[base + GENERATION] != self.generation:
                # A consumer may have made a lane. And one that was removed takes room until everybody has closed it.
                self.current_lane()
            if patience < PAUSE or not wait_for_gate(self, len(record)):
                return False
        lane = self.lane
        if words[base + GENERATION] != self.generation:
            lane = self.current_lane()
            if self.generation & 1:
                return False
        if lane is None:
            return False
        try:
            if len(record) > lane.msgsize:
                bodies = self.bodies
                return bodies is not None and goes_apart(len(record)) and bodies.offer(self, lane, record, patience)
            return lane.send(record) or (patience > 0 and self.wait_for_room(lane, record, patience))
        except LaneGone:
            self.generation = -1
            return False

    def wait_for_room(self, lane: Lane, record: bytes, patience: float) -> bool:
        """The lane is full: wait for another session's consumer, unless that was in vain lately."""
        consumers = self.words[self.base + CONSUMERS]
        if consumers <= self.own_consumers:
            return False
        if self.in_vain:
            self.in_vain -= 1
            return False
        left = min(patience, self.allowance.left(self.published))
        clock = self.vhost.clock.monotonic
        begin = clock()
        sent = left > 0 and lane.send_wait(record, left, consumers)
        self.allowance.spend(clock() - begin)
        if not sent:
            self.in_vain = IN_VAIN
        return sent

    def may_sleep(self, lane: Lane) -> bool:
        """A consumer found ``lane`` empty: whether whatever comes from now on wakes it.

        The gate may have been closed since the caller looked at it.
        """
        return not self.words[self.base]

    def keep_lane(self, lane: Lane | None) -> None:
        """The lane was on its way out, but stays. Under the write lock."""
        if lane is not None:
            try:
                lane.unseal()
            except LaneGone:
                self.generation = -1

    def leave_token(self, *, behind: bool = False) -> bool:
        """Wake whoever sleeps on the lane (``behind`` what is in it); False when there is no lane or room to do it by.

        A token needs no room where something in the lane has woken them; ``behind`` it has not.
        """
        lane = self.current_lane()
        if lane is None:
            return False
        words, at = self.words, self.base + TOKENS
        try:
            if behind or not lane.depth():
                # Before, for a count that comes in between; afterwards, since a drain may have come in between.
                words[at] = 1
                sent = lane.send(TOKEN)
                words[at] = 1
                return sent or not behind
        except LaneGone:
            return False
        return True


def lay(handle: QueueHandle, record: bytes) -> bool:
    """Keep ``record`` where whoever looks at the queue finds it (``swaths``); False when it must go to the hay."""
    swath = handle.swath
    if swath is None or len(record) > LONGEST or not swath.lay(handle.id, record):
        return False
    if handle.words[handle.base] != handle.laying:
        # Somebody may have looked before that. As if the lane were retired: the caller brings it home.
        handle.generation = -1
    return True


def depth_of(handle: QueueHandle) -> int:
    """How much is in the lane that the session last used; whoever retired it has brought that home."""
    lane = handle.lane
    if lane is None or handle.queue.deleted or handle.retired():
        return 0
    try:
        return lane.depth()
    except LaneGone:
        return 0


def let_go(handle: QueueHandle) -> None:
    """Close the lane of a queue of ours that the session neither publishes to nor consumes from.

    A removed lane takes the kernel's room for as long as somebody has it open.
    """
    if not (handle.published or handle.own_consumers or handle.foreign):
        handle.close_lane()


def count_lane(handle: QueueHandle) -> int | None:
    """Messages in the queue's lane, where they can be counted without a drain. Under the write lock.

    None: they are to be drained and counted in the hay. A drain closes the gate, and what is published until a
    consumer has opened it again goes by way of the hay.
    """
    if handle.closed or handle.foreign or handle.changing or handle.words[handle.base + TOKENS]:
        return None
    try:
        lane = handle.current_lane()
        return None if lane is None else lane.depth()
    except LaneGone:
        handle.generation = -1
        return None


def wait_for_gate(handle: QueueHandle, size: int) -> bool:
    """The gate is closed: wait for another session's consumer to open it, where the hay holds little.

    Else it would stay closed: what is published meanwhile goes to the hay, under the write lock that the
    consumers need to empty it.
    """
    lane, words = handle.lane, handle.words
    if lane is None or (size > lane.msgsize and not goes_apart(size)):
        return False
    if handle.in_vain:
        handle.in_vain -= 1
        return False
    if handle.published - handle.waited < WORTH:
        # It was open for a few messages only: perhaps others do not fit the lane.
        handle.waited, handle.in_vain = -WORTH, IN_VAIN
        return False
    if (
        words[handle.base + CONSUMERS] > handle.own_consumers
        and handle.vhost.hay.count_now(handle.id) <= LITTLE
        and handle.vhost.hay.gates.wait(handle.base, PAUSE)
    ):
        handle.waited = handle.published
        return True
    handle.in_vain = IN_VAIN
    return False

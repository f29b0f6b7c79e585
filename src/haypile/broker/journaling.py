"""When what a session changed is on disk, and the replies that wait for it.

Owns: a session's part in flushing the journal; confirms and tx.commit-ok that may not be sent before.
Must not know: what a flush does (``hay.journal``), what is journaled (``enqueue``, ``topology``).

A session that changed something durable sees to a flush within DELAY. A confirm waits for the flush that
covers its message, and one flush serves all that wait, in all sessions: the gate page says how far
the last one came. A message that is consumed before needs none: who takes it rings whoever waits. So where
a flush takes long and there are consumers, the publisher gives them a moment, as long as that helps.

A flush waits for a disk. A session whose loop has other work to do has it done in another thread (``offload``): one
flush at a time, and what waits for it is seen to when that is back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pika import spec

from haypile.hay.errors import HayError, OutOfRoom
from haypile.hay.gates import DUE, FLUSHED, PENDING
from haypile.hay.haste import PAUSE, pause
from haypile.hay.pending import are_safe
from haypile.lanes.backoff import Backoff

if TYPE_CHECKING:
    from haypile.broker.batch import Published
    from haypile.broker.channel import Channel
    from haypile.broker.enqueue import Arrivals
    from haypile.broker.ports import Offload
    from haypile.broker.session import Session
    from haypile.hay.journal import Journal

LOGGER = logging.getLogger("haypile")

#: Seconds between a durable change and the flush that makes it last, at most.
DELAY = 0.03
#: Seconds between two times that a session does its other business, at least.
BUSINESS = 0.5
#: Seconds until a flush is tried again that found no room.
RETRY = 1.0
#: Consumers are waited for at most so many times as long as a flush takes; this at least, or not at all;
#: this at most (seconds).
PATIENCE, LEAST, MOST = 3.0, 0.0001, 0.005
#: Flushes without waiting for consumers after a wait in vain: doubled each time, up to this.
IN_VAIN = 64

_Ack = spec.Basic.Ack


class Waiting(NamedTuple):
    """A reply that waits for a flush: one for all that was stored together."""

    channel: Channel
    #: Of the publish, the last of ``messages``; 0: it is tx.commit-ok.
    tag: int
    accepted: bool
    #: Transaction of the store that a flush must cover …
    mark: int
    #: … unless these messages (queue and order) are not pending any more.
    tails: tuple[bytes, ...]
    messages: int = 1


class Journaling:
    """One session's."""

    def __init__(self, session: Session, journal: Journal | None, offload: Offload | None = None) -> None:
        """``journal``: None for a session that is not to survive the host (?durability=host)."""
        self.session = session
        self.journal = journal
        self.offload = offload
        #: A flush of ours is under way in another thread; and that thread is at it.
        self.flushing = self.writing = False
        #: The last one did not succeed.
        self.failed = False
        #: What the session goes on with when all is flushed.
        self.then: Callable[[], None] | None = None
        self.finished = False
        self.clock = session.vhost.clock.monotonic
        #: This session has published something that is kept: what has no room concerns its client.
        self.publishes = False
        #: Somebody in this session waits for confirms.
        self.awaits = False
        #: When to flush, seconds of the loop's clock; 0: there is nothing to flush.
        self.deadline = 0.0
        self.waiting: deque[Waiting] = deque()
        #: What the last publish left to be flushed, for its confirm: transaction, messages, consumers wait.
        self.last: tuple[int, tuple[bytes, ...], bool] | None = None
        #: The last transaction of ours that left anything.
        self.mark = 0
        #: Until when consumers are waited for; 0: they are not.
        self.patient_until = 0.0
        self.hopeful = False
        self.waits = Backoff(IN_VAIN)
        #: When the session last did what it does once a second.
        self.business = 0.0
        if journal is not None:
            journal.wanted = True

    # -- what changed -------------------------------------------------------------------------

    def note(self, mark: int) -> None:
        """Transaction ``mark`` of this session left something to be flushed."""
        self.mark = mark
        if self.journal is None:
            return
        now = self.clock()
        if not self.deadline:
            self.deadline = now + DELAY
            self.session.timer.set()
        elif now > self.deadline:
            # Nobody turns the loop.
            self.flush()

    def passing(self) -> None:
        """A persistent message is in a lane, which is to be looked at (``enroute``)."""
        self.publishes = True
        if not self.deadline:
            self.deadline = self.clock() + DELAY
            self.session.timer.set()

    def published(self, mark: int, tails: Sequence[bytes], consumers: bool) -> None:
        """The same for a publish: ``tails`` are its messages; ``consumers``: somebody may take them."""
        self.note(mark)
        self.publishes = True
        if self.awaits and self.journal is not None and mark > self.words[FLUSHED]:
            self.last = (mark, tuple(tails), consumers)

    def stored(
        self, mark: int, messages: Sequence[Published], outcomes: Sequence[tuple[bool, int]], arrivals: Arrivals
    ) -> None:
        """The same for ``messages`` in one transaction, whose confirms follow those before them.

        ``outcomes``: of each, whether it was accepted, and how much of ``arrivals.journaled`` it ends.
        """
        if self.session.closed:
            self.mark = mark or self.mark
            return
        if mark:
            self.publishes = True
            self.note(mark)
        journaled, before = arrivals.journaled, len(self.waiting)
        channel, tag, count, begin, last = None, 0, 0, 0, 0

        def wait(accepted: bool) -> None:
            if channel is not None:
                tails = tuple(journaled[begin:last])
                self.waiting.append(Waiting(channel, tag, accepted, mark if tails else 0, tails, count))

        for one, (accepted, end) in zip(messages, outcomes, strict=True):
            if one.channel is not channel or not accepted:
                wait(True)
                channel, begin, count = one.channel, last, 0
            tag, last, count = one.tag, end, count + 1
            if not accepted:
                wait(False)
                channel = None
        wait(True)
        if len(self.waiting) == before:
            return
        self.hopeful = any(handle.has_consumers() for handle in arrivals.touched.values())
        self.session.outbox.soon()

    def release(self, sessions: set[int]) -> None:
        """A transaction of ours made messages safe that ``sessions`` wait for."""
        session = self.session
        if session.id in sessions:
            session.outbox.soon()
        session.ring(sessions)

    # -- replies ------------------------------------------------------------------------------

    @property
    def words(self) -> memoryview:
        """The gate page."""
        return self.session.vhost.hay.gates.words

    def must_wait(self) -> bool:
        """Whether the confirm of the last publish cannot be sent yet."""
        return self.last is not None or bool(self.waiting)

    def hold(self, channel: Channel, tag: int, accepted: bool) -> None:
        """Confirm publish ``tag`` when it is safe, after those before it."""
        mark, tails, consumers = self.last or (0, (), False)
        self.last = None
        self.waiting.append(Waiting(channel, tag, accepted, mark, tails))
        self.hopeful = consumers
        self.session.outbox.soon()

    def commit(self, channel: Channel) -> bool:
        """Answer tx.commit once everything so far is safe; whether that is now."""
        if self.journal is None or self.mark <= self.words[FLUSHED]:
            return True
        self.waiting.append(Waiting(channel, 0, True, self.mark, ()))
        self.hopeful = False
        self.session.outbox.soon()
        return False

    def settle(self) -> None:
        """Send the replies that need not wait any more; flush if that is the way to get on."""
        ready = self.safe_ones()
        if not self.waiting:
            self.patient_until = 0.0
        elif not self.give_time(bool(ready)) and self.flush():
            ready += self.safe_ones()
        if ready:
            self.send(ready)

    def give_time(self, progress: bool) -> bool:
        """Whether to wait for consumers; ``progress``: they have just taken something."""
        now = self.clock()
        if progress:
            self.waits.reset()
        if self.patient_until and not progress:
            if now < self.patient_until:
                return True
            self.patient_until = 0.0
            self.waits.in_vain()
            return False
        takes = PATIENCE * self.journal.takes if self.journal is not None else 0.0
        if not self.hopeful or takes < LEAST:
            return False
        if self.waits.leaves_out():
            return False
        self.patient_until = now + min(takes, MOST)
        if not now < self.session.timer.at <= self.patient_until:  # one that comes too early does no harm
            self.session.timer.set()
        return True

    def safe_ones(self) -> list[Waiting]:
        """Take out the replies at the head that need not wait any more."""
        waiting = self.waiting
        ready: list[Waiting] = []
        flushed = self.words[FLUSHED]
        while waiting and waiting[0].mark <= flushed:
            ready.append(waiting.popleft())
        if waiting and waiting[0].tails:
            with self.session.vhost.hay.read() as reading:
                while waiting:
                    one = waiting[0]
                    if one.mark > flushed and not (one.tails and are_safe(reading, one.tails, flushed)):
                        break
                    ready.append(waiting.popleft())
        return ready

    def send(self, ready: list[Waiting]) -> None:
        """Send replies, confirms that follow each other in one."""
        session = self.session
        runs: dict[int, tuple[int, int]] = {}
        for one in ready:
            number = one.channel.number
            if session.channels.get(number) is not one.channel or one.channel.closing:
                continue
            if one.tag and one.accepted:
                runs[number] = (one.tag, one.messages + (runs[number][1] if number in runs else 0))
                continue
            if number in runs:
                tag, count = runs.pop(number)
                session.outbox.method(number, _Ack(tag, count > 1))
            session.outbox.method(number, spec.Basic.Nack(one.tag, False, False) if one.tag else spec.Tx.CommitOk())
        for number, (tag, count) in runs.items():
            session.outbox.method(number, _Ack(tag, count > 1))

    # -- flushing -----------------------------------------------------------------------------

    def flush(self, *, wait: bool = True) -> bool:
        """Flush; False when it is not done yet: it is to be tried again, or under way."""
        journal = self.journal
        if journal is None:
            return False
        work = partial(journal.flush, self.session.vhost.hay, wait=wait)
        if self.offload is not None:
            # What is noted meanwhile sets the deadline anew, for the next one.
            self.deadline = 0.0
            if not self.flushing:
                self.flushing = self.writing = True
                self.offload(partial(self.write, work), self.flushed)
            return False
        try:
            done = work()
        except OutOfRoom as error:
            self.put_off(error)
            return False
        if done:
            self.deadline = 0.0
            self.room_again()
        return done

    def write(self, work: Callable[[], object]) -> None:
        """In another thread: flush."""
        try:
            work()
        finally:
            self.writing = False

    def room_again(self) -> None:
        """A flush was done."""
        if not self.session.pressure.waiting:
            self.session.pressure.unblock()

    def put_off(self, error: OutOfRoom) -> None:
        """There was no room for a flush."""
        # Said once: the alarm is for all publishers of persistent messages, and this one knows already.
        if self.publishes:
            self.session.pressure.block(f"low on disk: {error}")
        else:
            # RabbitMQ tells nobody who only consumes.
            LOGGER.debug("low on disk: %s", error)
        self.deadline = self.clock() + RETRY
        self.session.timer.set()

    def flushed(self, error: BaseException | None) -> None:
        """The other thread is back."""
        self.flushing = False
        self.failed = error is not None
        if not self.session.listening:
            return
        if isinstance(error, OutOfRoom):
            self.put_off(error)
        elif error is not None:
            # The end of the session does not try it again, in the loop.
            self.mark = 0
            try:
                raise error
            finally:
                # Else the traceback would hold itself, and the store's pages with it.
                error = None
        else:
            self.room_again()
            if self.mark > self.words[FLUSHED] and not self.deadline:
                self.deadline = self.clock() + DELAY
                self.session.timer.set()
        if self.waiting and error is None:
            self.session.settle()
        then, self.then = self.then, None
        if then is not None:
            then()

    def finish(self, then: Callable[[], None]) -> bool:
        """Whether there is something to flush before the session may end: ``then`` is called after that."""
        self.session.batch.store()
        if self.offload is None or self.journal is None or self.finished or self.mark <= self.words[FLUSHED]:
            return False
        self.finished = True
        self.then = then
        self.flush()
        return True

    def finishing(self) -> bool:
        """Whether a flush in another thread is still to cover what the session has done. Not after one that failed."""
        if self.offload is None or self.journal is None or self.failed:
            return False
        if self.flushing:
            return True
        if min(self.mark, self.words[PENDING]) <= self.words[FLUSHED]:
            return False
        self.flush()
        return self.flushing

    def on_timer(self) -> bool:
        """Time has gone by; whether that was all (the session's other business is due once a second)."""
        if self.journal is None:
            return False
        if self.waiting:
            self.settle()
        now, words = self.clock(), self.words
        if self.deadline:
            if now >= self.deadline:
                enroute = self.session.publisher.enroute
                enroute.look()
                self.flush()
                if enroute.sent_before:
                    self.passing()
        elif words[PENDING] > words[FLUSHED]:
            # Somebody was killed, or has only just begun to wait.
            self.flush(wait=False)
        if now < self.business + BUSINESS and not 0 < words[DUE] <= self.session.vhost.clock.now():
            self.session.timer.set()
            return True
        self.business = now
        return False

    def next_time(self) -> float:
        """When ``on_timer`` is wanted, seconds of the loop's clock; 0: no time in particular."""
        if self.patient_until and self.waiting:
            return min(self.patient_until, self.deadline or self.patient_until)
        return self.deadline

    def close(self) -> None:
        """The session ends: leave nothing for others to do. In any thread."""
        words = self.words
        # A loop does not wait for what others have left; they are still there.
        ours = words[PENDING] if self.offload is None else min(self.mark, words[PENDING])
        journal = self.journal
        if journal is None:
            return
        while self.writing:
            # Another thread needs the store.
            pause(PAUSE)
        if ours > words[FLUSHED]:
            try:
                journal.flush(self.session.vhost.hay)
            except HayError as error:
                name = self.session.vhost.name
                LOGGER.error("vhost %r: persistent messages are not on the disk yet: %s", name, str(error))

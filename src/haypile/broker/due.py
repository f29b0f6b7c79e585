"""What is to happen at a time: messages that expire, queues that expire.

Owns: the rows that say when to look at which queue, and the look.
Must not know: timers, loops (the session asks for its next deadline).

No process owns the timers: every session sees the earliest deadline in the gate page, looks when
its loop wakes for it, and before any operation that could see the difference. A row is a reason
to look, no more: what is found decides, so a row too many is harmless. One for each message would be far too many:
a word of the queue's slot says when the first look is due, and what expires later needs none of its own. The word is
set after the commit that makes the row, and cleared before the one that removes it: who is killed in between leaves a
row too many.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from haypile.broker import aging, aside, shrinking
from haypile.broker.declare import queue as queues
from haypile.broker.enqueue import EXPIRE_BATCH, Arrivals
from haypile.broker.queue import EXPIRING, MS, NO_LOOK, QueueHandle, let_go
from haypile.hay.due import first_due, put_due, take_due

if TYPE_CHECKING:
    from haypile.broker.declare.context import Context
    from haypile.broker.holdings import Moving
    from haypile.broker.session import Session
    from haypile.hay.txn import WriteTxn

#: Kinds of rows.
HEAD, UNUSED, HELD_BACK = 0, 1, 2
#: Longest time for what is due before the loop gets its turn, ns; where it has other work, and then as much in
#: one transaction.
SLICE, SHORT, FEW = 15_000_000, 400_000, 40


def is_looked_at(handle: QueueHandle, when: int) -> bool:
    """Whether a row says that somebody will look at the head of the queue by then. Under the write lock."""
    return NO_LOOK < handle.words[handle.base + EXPIRING] <= when


def set_look(handle: QueueHandle, when: int) -> None:
    """There is such a row. Under the write lock, after the commit; ``NO_LOOK``, before it: there will be none."""
    handle.words[handle.base + EXPIRING] = when


class Due:
    """A session's part in keeping the vhost's time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.gates = session.vhost.hay.gates

    def note(self, txn: WriteTxn, when: int, kind: int, queue: int) -> None:
        """Have somebody look at ``queue`` at ``when`` (ns of the store's clock)."""
        put_due(txn, when, kind, queue)
        due = self.gates.due
        if due and due <= when:
            return
        gates = self.gates

        def announce() -> None:
            gates.due = when
            self.session.timer.bring_forward(when)

        txn.on_commit.append(announce)

    def note_head(self, txn: WriteTxn, handle: QueueHandle) -> None:
        """The head of the queue may be new: look when it expires."""
        head = txn.head(handle.id)
        if head is not None and head.expires and not is_looked_at(handle, head.expires):
            self.note(txn, head.expires, HEAD, handle.id)
            txn.on_commit.append(functools.partial(set_look, handle, head.expires))

    def note_arrival(self, txn: WriteTxn, handle: QueueHandle, expires: int) -> None:
        """A message came that expires then, perhaps as the head of the queue. Under the write lock."""
        handle.mark_expiring()
        if not is_looked_at(handle, expires):
            self.note_head(txn, handle)

    def note_held_back(self, txn: WriteTxn, when: int) -> None:
        """An exchange holds a message back until ``when``."""
        self.note(txn, when, HELD_BACK, 0)

    def born(self, txn: WriteTxn, handle: QueueHandle) -> None:
        """The queue is new: if it expires, somebody must look for as long as it lives."""
        if handle.rules.expires is not None:
            self.used(handle)
            self.note(txn, handle.unused_until, UNUSED, handle.id)

    def used(self, handle: QueueHandle) -> None:
        """The queue was used: its x-expires starts anew (https://www.rabbitmq.com/docs/ttl#queue-ttl)."""
        expires = handle.rules.expires
        if expires is not None:
            handle.set_unused_until(self.session.vhost.clock.now() + expires * MS)

    def settle(self) -> None:
        """Do what is due, for no longer than SLICE; the session comes again at once for the rest."""
        session = self.session
        clock = session.vhost.clock
        until = clock.now() + (SHORT if session.sliced else SLICE)
        batch = FEW if session.sliced else EXPIRE_BATCH
        while self.gates.due and self.gates.due <= clock.now() < until:
            with session.holdings.write() as moving:
                txn = moving.txn
                context = session.context(moving)
                arrivals = Arrivals(session, txn)
                left, looked = batch, list[QueueHandle]()
                for when, kind, queue_id in take_due(txn, arrivals.now, batch):
                    if kind == HELD_BACK:
                        aside.release(arrivals, left)
                        continue
                    queue = session.vhost.topology.by_id.get(queue_id)
                    if queue is None or queue.deleted:
                        continue
                    handle = session.handle_for(queue)
                    if kind == UNUSED:
                        self.expire_queue(txn, handle, context, arrivals.now)
                    else:
                        looked.append(handle)
                        left -= self.look(moving, arrivals, handle, when, left)
                first = first_due(txn)
                txn.on_commit.append(lambda due=first: setattr(self.gates, "due", due))  # type: ignore[misc]
            session.notify(context)
            session.wake_all(arrivals)
            for handle in (*looked, *arrivals.touched.values()):
                let_go(handle)

    def look(self, moving: Moving, arrivals: Arrivals, handle: QueueHandle, when: int, most: int) -> int:
        """Give up what has expired, ``most`` messages of it; how many there were. ``when``: what the row said."""
        if is_looked_at(handle, when):
            set_look(handle, NO_LOOK)
        if handle.ages and not aging.look(moving, arrivals, handle):
            self.note(moving.txn, arrivals.now, HEAD, handle.id)
        count = arrivals.expire(handle, most) if most > 0 else 0
        self.note_head(moving.txn, handle)
        return count

    def catch_up(self) -> None:
        """Do what is late, before an answer could tell: a program that only asks turns no loop."""
        if self.session.timer.at <= self.session.vhost.clock.monotonic():
            self.session.on_timer()
        else:
            self.settle_late()

    def settle_late(self) -> None:
        """Do what is due already."""
        due = self.gates.due
        if due and due <= self.session.vhost.clock.now():
            self.settle()

    def expire_queue(self, txn: WriteTxn, handle: QueueHandle, context: Context, now: int) -> None:
        """Delete a queue that nobody has used for its x-expires."""
        if handle.rules.expires is None:
            # By policy it had an expiry, and has none any more.
            handle.set_unused_until(0)
            return
        if handle.queue.consumers:
            self.used(handle)
        until = handle.unused_until
        if until > now:
            self.note(txn, until, UNUSED, handle.id)
        elif not shrinking.shorten(self.session, txn, handle.queue):
            self.note(txn, now, UNUSED, handle.id)
        else:
            queues.delete_queue(context, handle.queue)

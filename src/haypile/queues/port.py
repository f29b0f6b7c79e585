"""A process's way into one queue: a broker session that no loop turns.

Owns: sessions for putting and for getting, waiting, and what becomes of them after a fork and at exit.
Must not know: items, multiprocessing.

Putting and getting have a session each, so that a thread that waits for an item does not keep another
one from putting it. A session is used by one thread at a time, under the port's lock. A forked child
inherits ports it must not use: it opens its own.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from haypile.broker import backlog, consuming
from haypile.broker.belled import SLEEPERS, BelledHandle
from haypile.broker.channel import Channel, Unacked
from haypile.broker.message import APART, HEADER, HEADER_SIZE, encode_prefix
from haypile.broker.ports import VhostTarget
from haypile.broker.pressure import Congested
from haypile.broker.queue import SHUT, QueueHandle
from haypile.broker.settle import ack
from haypile.broker.taken import Fresh, Landed, Taken
from haypile.hay.gates import GENERATION, VERSION
from haypile.hay.sessions import settled
from haypile.lanes.backoff import Backoff
from haypile.lanes.errors import LaneGone
from haypile.queues.quiet import PATIENCE, Here, open_session

if TYPE_CHECKING:
    from haypile.broker.entities import Queue
    from haypile.broker.source import Source
    from haypile.hay.reading import ReadTxn

#: Items taken from the store at once by a process that gets alone.
BATCH = 64
#: A wait for the gate to open: naps, seconds each. After waits in vain: so many items without one, and so many at most.
WAITS, NAP, FIRST, MOST = 20, 0.00005, 64, 4096
#: Looks at an empty lane before sleep, others running in between; and the most sleeps without one after looks in vain.
HOVERS, HOVERED_IN_VAIN = 16, 64


class Port:
    """One session on one queue."""

    _all: weakref.WeakSet[Port] = weakref.WeakSet()

    def __init__(self, target: VhostTarget, name: str, *, gets: bool, holds: bool = False) -> None:
        """``holds``: items stay in the store for us until they are done.

        Raises FileNotFoundError when there is no such queue.
        """
        self.session, self.poller = open_session(target, name)
        try:
            topology = self.session.vhost.topology
            topology.sync()
            queue = topology.queues.get(name)
            if queue is None:
                raise FileNotFoundError(f"there is no queue {name!r} (any more)")
            self.queue: Queue = queue
            self.handle: QueueHandle = self.session.handle_for(queue)
            #: The same, where the kernel wakes nobody by itself.
            self.belled = self.handle if isinstance(self.handle, BelledHandle) else None
            self.prefix = encode_prefix("", name)
            self.source: Source | None = self._consume(name) if gets else None
        except BaseException:
            self.session.close()
            self.poller.poll.close()
            raise
        self.nonce = self.session.nonce
        self.pid = os.getpid()
        self.holds = holds
        self.gate_waits = Backoff(MOST, FIRST)
        self.hovers = Backoff(HOVERED_IN_VAIN)
        #: Items taken from the store and not handed out yet.
        self.hand: deque[Taken | Fresh | Landed] = deque()
        self.asked_for_fd = False
        #: Taking an item is more than taking it from the lane.
        self.careful = holds
        self._all.add(self)

    def _consume(self, name: str) -> Source:
        session = self.session
        channel = session.channels[1] = Channel(session, 1)
        # One at a time and to be acknowledged: so limits of the queue count what is not fetched yet.
        channel.prefetch = 1
        consumer = consuming.start(session, channel, name, "q", no_ack=False, exclusive=False, arguments={})
        return consumer.source

    # -- putting ------------------------------------------------------------------------------

    def quick_put(self, body: bytes) -> bool:
        """``put``, where ``body`` is just to be sent into the lane; False: see ``put``."""
        session, handle, publisher = self.session, self.handle, self.session.publisher
        words, base, lane = handle.words, handle.base, handle.lane
        if (
            words[base]
            or lane is None
            or handle.ages
            or words[base + GENERATION] != handle.generation
            or handle.generation & 1
            or words[VERSION] != publisher.topology.version
        ):
            return False
        now = monotonic_ns() + session.vhost.hay.offset
        if now <= publisher.last:
            now = publisher.last + 1
        publisher.last = now
        header = HEADER.pack(self.nonce, now, session.id, len(body), 0, len(self.prefix), 0, 0)
        record = b"".join((header, self.prefix, body))
        if len(record) > lane.msgsize:
            return False
        try:
            if not lane.send(record):
                return False
        except LaneGone:
            handle.generation = -1
            return False
        if self.belled is not None and words[base + SLEEPERS] != self.belled.rung:
            self.belled.rouse()
        if words[base + GENERATION] != handle.generation:
            session.rescue(handle)
        return True

    def put(self, body: bytes) -> bool:
        """Put ``body``; False when the queue, or the store, is full."""
        session, handle, prefix = self.session, self.handle, self.prefix
        publisher = session.publisher
        publisher.topology.sync()
        if self.queue.deleted:
            raise ValueError(f"queue {self.queue.name!r} was deleted")
        words, base = handle.words, handle.base
        if words[base] and handle.has_consumers():
            lane = handle.current_lane()
            if lane is not None and len(body) + 2 * HEADER_SIZE + len(prefix) <= lane.msgsize:
                self._wait_for_gate()
        # As ``Publisher.publish`` does for one queue and no properties.
        now = publisher.now()
        record = b"".join((HEADER.pack(session.nonce, now, session.id, len(body), 0, len(prefix), 0, 0), prefix, body))
        if handle.ages or not handle.offer(record, PATIENCE):
            try:
                return publisher.store([handle], record, now, 0, None)
            except Congested:
                # No room in the store: to whoever puts, the queue is full.
                return False
        if words[base + GENERATION] != handle.generation:
            session.rescue(handle)
        return True

    def _wait_for_gate(self) -> None:
        """Items go to the store while it has some: let a consumer that is quick empty it first.

        A transaction costs several times what the lane does. In vain, the next wait is far off.
        """
        if self.gate_waits.leaves_out():
            return
        handle = self.handle
        for _ in range(WAITS):
            time.sleep(NAP)
            if not handle.words[handle.base]:
                self.gate_waits.reset()
                return
        self.gate_waits.in_vain()

    def count(self) -> int:
        """Items in the queue at this instant."""
        handle, session = self.handle, self.session
        session.vhost.topology.sync()
        if self.queue.deleted:
            raise ValueError(f"queue {self.queue.name!r} was deleted")
        lane = handle.current_lane()
        if not handle.closed and lane is not None and not lane.depth():
            with session.vhost.hay.read() as reading:
                return self._in_hands(reading)
        # A token may be in the lane, too: it counts once what is there has joined the hay.
        session.holdings.make_way(handle)
        with session.holdings.write() as moving:
            ready = session.context(moving).ready(self.queue)
            count = ready + self._in_hands(moving.txn)
        session.settle_gate(handle, ready)
        return count

    def _in_hands(self, txn: ReadTxn) -> int:
        """Items that some process took from the store and has not got to yet (``take``)."""
        count = 0
        hay = self.session.vhost.hay
        for session in txn.session_ids():
            numbers = [number for number, entry in txn.taken(session) if entry.queue == self.queue.id]
            if numbers:
                done = settled(hay, session)
                count += sum(number > done for number in numbers)
        return count

    # -- getting ------------------------------------------------------------------------------

    def quick(self) -> bytes | None:
        """The next item's bytes, where it is just to be taken from the lane; None: see ``take``."""
        handle = self.handle
        words, base, lane = handle.words, handle.base, handle.lane
        if words[base] or lane is None or self.careful or words[base + GENERATION] != handle.generation or self.hand:
            return None
        try:
            record = lane.receive()
        except LaneGone:
            handle.generation = -1
            return None
        if not record:
            # A token: the gate was closed, and ``take`` looks what for.
            return None
        if words[base] > SHUT and self.source is not None and not backlog.join_one(self.source, record):
            return None
        fields = HEADER.unpack_from(record) if len(record) >= HEADER_SIZE else (None,)
        if fields[0] != self.nonce or fields[7] & APART:
            return self._opened(record)
        return record[HEADER_SIZE + fields[4] + fields[5] :]

    def hover(self) -> bytes | None:
        """``quick`` again and again, for a moment: waking up costs more than most putters take.

        In vain, it is left out for a while: a getter that mostly waits costs nothing.
        """
        if self.careful or self.hovers.leaves_out():
            return None
        for _ in range(HOVERS):
            os.sched_yield()
            body = self.quick()
            if body is not None:
                self.hovers.reset()
                return body
        self.hovers.in_vain()
        return None

    def _opened(self, record: bytes) -> bytes | None:
        """The item in ``record``; None for bytes that are no item."""
        fields = HEADER.unpack_from(record) if len(record) >= HEADER_SIZE else (None,)
        if fields[0] != self.session.nonce:
            self.session.set_aside(self.queue.name, record)
            return None
        if fields[7] & APART:
            return self.session.bodies.taken(self.queue.name, record)
        return record[HEADER_SIZE + fields[4] + fields[5] :]

    def take(self) -> bytes | None:
        """The next item's bytes; None when there is none.

        From the store several items are taken at once. They stay there, in the session's name, until
        each is handed out: what has been is written into the session's file, one number.
        """
        if self.asked_for_fd:
            # Whatever was rung for is looked at now.
            self.session.file.bell.drain()
        while self.hand:
            body = self._next()
            if body is not None:
                return body
        source = self.source
        assert source is not None
        handle = self.handle
        while True:
            if self.holds or not handle.words[handle.base]:
                got = source.take(1, not self.holds)
            else:
                got = backlog.serve(source, 1 if handle.others_consume() else BATCH, False)
            if got:
                self.hand.extend(got)
                body = self._next()
                if body is not None:
                    return body
            elif self.queue.deleted:
                raise ValueError(f"queue {self.queue.name!r} was deleted")
            elif source.idle:
                if self.session.holdings.acked:
                    self.session.holdings.flush_acks()
                return None

    def _next(self) -> bytes | None:
        """The next of the items in hand; None for bytes that are no item."""
        record: Any = self.hand.popleft()
        session = self.session
        if isinstance(record, Taken):
            taken, record = record, record.record
            if self.holds:
                session.channels[1].unacked[taken.number] = Unacked(None, self.handle, taken)
            elif taken.number:
                session.file.settle(taken.number)
                session.holdings.acked.append(taken.number)
        assert isinstance(record, bytes)
        body = self._opened(record)
        if body is not None and self.asked_for_fd:
            self._keep_readable()
        return body

    def _keep_readable(self) -> None:
        """Where no descriptor of the lane tells that there is more, the bell must."""
        handle = self.handle
        lane = handle.current_lane()
        if self.hand:
            self.session.file.bell.ring()
            return
        if lane is not None and lane.fd is not None:
            return
        if handle.closed or (lane is not None and not handle.may_sleep(lane)):
            self.session.file.bell.ring()

    def done(self) -> bool:
        """The oldest item that is held is done; False when none is held."""
        unacked = self.session.channels[1].unacked
        if not unacked:
            return False
        ack(self.session, [unacked.pop(next(iter(unacked)))])
        self.session.holdings.flush_acks()
        return True

    def wait(self, seconds: float | None) -> None:
        """Sleep until there may be an item, or for ``seconds``."""
        poller = self.poller
        now = time.monotonic()
        left = 1.0 if poller.deadline is None else max(poller.deadline - now, 0.0)
        if seconds is not None:
            left = min(left, max(seconds, 0.0))
        bell = self.session.file.bell
        for fd, _ in poller.poll.poll(left):
            if fd == bell.fd:
                bell.drain()
                self.session.look_around()
            elif self.source is not None:
                self.source.stir()
        if poller.deadline is not None and time.monotonic() >= poller.deadline:
            self.session.on_timer()

    def fileno(self) -> int:
        """A descriptor that is readable while there may be an item."""
        self.asked_for_fd = self.careful = True
        return self.poller.poll.fileno()

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave. Idempotent; in a forked child it only lets go of descriptors."""
        if self.pid == os.getpid():
            for taken in self.hand:
                # What came from the lane was handed out when it came.
                assert isinstance(taken, Taken)
                self.session.channels[1].unacked[taken.number] = Unacked(None, self.handle, taken)
            self.hand.clear()
            self.session.close()
        if not self.poller.poll.closed:
            self.poller.poll.close()

    @classmethod
    def close_all(cls) -> None:
        """At the end of the process."""
        for port in list(cls._all):
            if port.pid == os.getpid() and not port.session.closed:
                port.close()


atexit.register(Port.close_all)


class Ports:
    """The ports of one queue object in this process."""

    def __init__(self, target: VhostTarget, name: str, *, holds: bool = False) -> None:
        self.target = target
        self.name = name
        self.holds = holds
        self.pid = Here.pid
        self.getting = threading.Lock()
        self.putting = threading.Lock()
        self.looking = threading.Lock()
        self.closed = False
        self._getter: Port | None = None
        self._putter: Port | None = None

    def refresh(self) -> None:
        """In a forked child: the parent's ports are the parent's."""
        if self.pid != Here.pid:
            self.__init__(self.target, self.name, holds=self.holds)  # type: ignore[misc]

    def getter(self) -> Port:
        """For getting; hold ``getting``."""
        if self._getter is None:
            self._getter = Port(self.target, self.name, gets=True, holds=self.holds)
        return self._getter

    def quick(self) -> bytes | None:
        """See ``Port.quick``; hold ``getting``."""
        getter = self._getter
        return None if getter is None else getter.quick()

    def quick_put(self, body: bytes) -> bool:
        """See ``Port.quick_put``; hold ``putting``."""
        putter = self._putter
        return putter is not None and putter.quick_put(body)

    def putter(self) -> Port:
        """For putting; hold ``putting``."""
        if self._putter is None:
            self._putter = Port(self.target, self.name, gets=False)
        return self._putter

    def close(self) -> None:
        """Leave. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self.pid == os.getpid():
            for port in (self._getter, self._putter):
                if port is not None:
                    port.close()
        self._getter = self._putter = None

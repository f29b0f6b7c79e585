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
import select
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from haypile.broker import consuming
from haypile.broker.channel import Channel, Unacked
from haypile.broker.message import HEADER, HEADER_SIZE, encode_prefix
from haypile.broker.ports import VhostTarget
from haypile.broker.queue import QueueHandle
from haypile.broker.session import Session
from haypile.broker.settle import ack
from haypile.hay.sessions import settled

if TYPE_CHECKING:
    from haypile.broker.entities import Queue
    from haypile.broker.source import Source, Taken
    from haypile.hay.reading import ReadTxn

#: Seconds a full lane is waited for before an item takes the detour through the store.
PATIENCE = 0.05
#: Items taken from the store at once by a process that gets alone.
BATCH = 64
#: A wait for the gate to open: so many naps of so many seconds; in vain, none for so many items.
WAITS, NAP, IN_VAIN = 20, 0.00005, 64


class QuietSession(Session):
    """A session whose consumers are asked, and never called."""

    def look_around(self) -> None:
        """See ``Session``: whoever gets looks by itself."""
        self.vhost.topology.sync()
        for source in self.sources.values():
            source.stir()

    def pump(self) -> None:
        """See ``Session``."""

    def before_sleep(self) -> None:
        """See ``Session``."""


class Poller:
    """The session's outbox: descriptors to wait for, and when to look at the clock."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.deadline: float | None = None

    def method(self, channel: int, method: Any) -> None:
        """See ``Outbox``: nobody sends methods here that are answered."""

    def content(self, channel: int, method: Any, properties: Any, body: bytes) -> None:
        """See ``Outbox``: nothing is delivered, items are fetched."""

    def watch(self, fd: int) -> None:
        """See ``Outbox``."""
        self.poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """See ``Outbox``."""
        self.poll.unregister(fd)

    def call_at(self, deadline: float | None) -> None:
        """See ``Outbox``."""
        self.deadline = deadline

    def soon(self) -> None:
        """See ``Outbox``."""


def open_session(target: VhostTarget, name: str) -> tuple[QuietSession, Poller]:
    """A session of this process. Raises the errors of ``Session.open``."""
    poller = Poller()
    try:
        info = {"pid": os.getpid(), "queue": name}
        session = QuietSession.open(target, poller, patience=PATIENCE, info=info)
    except BaseException:
        poller.poll.close()
        raise
    assert isinstance(session, QuietSession)
    return session, poller


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
            self.prefix = encode_prefix("", name)
            self.source: Source | None = self._consume(name) if gets else None
        except BaseException:
            self.session.close()
            self.poller.poll.close()
            raise
        self.pid = os.getpid()
        self.holds = holds
        self.puts_to_go = 0
        self.in_vain = IN_VAIN
        #: Items taken from the store and not handed out yet.
        self.hand: deque[Taken] = deque()
        self.asked_for_fd = False
        self._all.add(self)

    def _consume(self, name: str) -> Source:
        session = self.session
        channel = session.channels[1] = Channel(session, 1)
        # One at a time and to be acknowledged: so limits of the queue count what is not fetched yet.
        channel.prefetch = 1
        consumer = consuming.start(session, channel, name, "q", no_ack=False, exclusive=False, arguments={})
        return consumer.source

    # -- putting ------------------------------------------------------------------------------

    def put(self, body: bytes) -> bool:
        """Put ``body``; False when the queue is full."""
        session = self.session
        session.vhost.topology.sync()
        if self.queue.deleted:
            raise ValueError(f"queue {self.queue.name!r} was deleted")
        handle = self.handle
        if handle.words[handle.base] and handle.has_consumers():
            lane = handle.current_lane()
            if lane is not None and len(body) + 2 * HEADER_SIZE + len(self.prefix) <= lane.msgsize:
                self._wait_for_gate()
        return session.publisher.publish((handle,), self.prefix, None, b"", body)

    def _wait_for_gate(self) -> None:
        """Items go to the store while it has some: let a consumer that is quick empty it first.

        A transaction costs several times what the lane does. In vain, the next wait is far off.
        """
        if self.puts_to_go:
            self.puts_to_go -= 1
            return
        handle = self.handle
        for _ in range(WAITS):
            time.sleep(NAP)
            if not handle.words[handle.base]:
                self.in_vain = IN_VAIN
                return
        self.puts_to_go = self.in_vain
        self.in_vain = min(2 * self.in_vain, 64 * IN_VAIN)

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

    def take(self) -> bytes | None:
        """The next item's bytes; None when there is none.

        From the store several items are taken at once. They stay there, in the session's name, until
        each is handed out: what has been is written into the session's file, one number.
        """
        if self.asked_for_fd:
            # Whatever was rung for is looked at now.
            self.session.file.bell.drain()
        if self.hand:
            return self._next()
        source = self.source
        assert source is not None
        handle = self.handle
        while True:
            if self.holds or not handle.words[handle.base]:
                got = source.take(1, not self.holds)
            else:
                got = source.serve_hay(1 if handle.others_consume() else BATCH, False)
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
        taken = self.hand.popleft()
        session = self.session
        number = taken.number
        if self.holds:
            session.channels[1].unacked[number] = Unacked(None, self.handle, taken)
        elif number:
            session.file.settle(number)
            session.holdings.acked.append(number)
        record = taken.record
        assert isinstance(record, bytes)
        fields = HEADER.unpack_from(record)
        if fields[0] != session.nonce:
            session.set_aside(self.queue.name, record)
            return None
        if self.asked_for_fd:
            self._keep_readable()
        return record[HEADER_SIZE + fields[4] + fields[5] :]

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
        self.asked_for_fd = True
        return self.poller.poll.fileno()

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave. Idempotent; in a forked child it only lets go of descriptors."""
        if self.pid == os.getpid():
            for taken in self.hand:
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
        self.pid = os.getpid()
        self.getting = threading.Lock()
        self.putting = threading.Lock()
        self.looking = threading.Lock()
        self.closed = False
        self._getter: Port | None = None
        self._putter: Port | None = None

    def refresh(self) -> None:
        """In a forked child: the parent's ports are the parent's."""
        if self.pid != os.getpid():
            self.__init__(self.target, self.name, holds=self.holds)  # type: ignore[misc]

    def getter(self) -> Port:
        """For getting; hold ``getting``."""
        if self._getter is None:
            self._getter = Port(self.target, self.name, gets=True, holds=self.holds)
        return self._getter

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

"""A session: one AMQP connection, from the broker's side.

Owns: the connection's channels, its sources and queue handles, its identity on this host (lock
file, bell, row in the store), when it wants to be called, and its end.
Must not know: event loops, pika's connections (``ports.Outbox`` stands for them), how methods
are carried out (``handlers``).

A session belongs to the thread whose loop turns it, as a pika connection does. It never
sleeps: it says through the outbox what to watch and when to be called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from pika.spec import Basic, BasicProperties

from haypile.broker import ending, express, handlers, impatience, lifecycle, recovery, ruling, scarcity, timeouts
from haypile.broker.batch import Batch
from haypile.broker.belled import BelledHandle, doze
from haypile.broker.bodies import Bodies
from haypile.broker.channel import Channel
from haypile.broker.declare.context import Context
from haypile.broker.due import Due
from haypile.broker.enqueue import Arrivals
from haypile.broker.entities import Queue
from haypile.broker.errors import AMQPError
from haypile.broker.foreign import ForeignHandle
from haypile.broker.handle import make_handle
from haypile.broker.holdings import Holdings, Moving
from haypile.broker.homing import Homing
from haypile.broker.idle import IdleSession
from haypile.broker.interrupts import interruptible
from haypile.broker.journaling import Journaling
from haypile.broker.ports import Offload, Outbox, VhostTarget
from haypile.broker.pressure import STRETCH, Congested, Pressure, Rest
from haypile.broker.publisher import Publisher
from haypile.broker.queue import QueueHandle
from haypile.broker.shrinking import fail
from haypile.broker.source import Source
from haypile.broker.stretches import alone, deliver_some, peek
from haypile.broker.swaths import Swaths
from haypile.broker.timer import Timer
from haypile.broker.vhost import Vhost
from haypile.hay import room
from haypile.hay.counters import Counters
from haypile.hay.errors import Busy, OutOfRoom
from haypile.hay.locking import check_place
from haypile.hay.sessions import ring

LOGGER = logging.getLogger("haypile")

_Publish = Basic.Publish


class Session(IdleSession):
    """One connection to a vhost of this host."""

    @classmethod
    def grow(cls, idle: IdleSession) -> None:
        """Make ``idle`` a whole session: whoever has it has this one."""
        before = idle.__class__
        idle.__class__ = cls
        try:
            session = cast("Session", idle)
            session.begin()
        except BaseException:
            idle.__class__ = before
            raise
        session.timer.set()
        recovery.recover_dead(session)
        recovery.sweep(session)

    def begin(self) -> None:
        """Have what an idle session lacks."""
        vhost = self.vhost
        vhost.equip()
        #: The loop has other work: what takes long is done piece by piece (``pressure.Unfinished``), or elsewhere.
        self.sliced = self.offload is not None
        #: What the session held is given back, and its row deleted.
        self.gone = False
        self.holdings = Holdings(self, self.info)
        self.bodies = Bodies(self)
        self.journaling = Journaling(self, vhost.hay.journal if self.durable else None, self.offload)
        self.publisher = Publisher(self, self.patience)
        self.batch = Batch(self)
        self.homing = Homing(self)
        self.swaths = Swaths(self)
        self.counters = Counters(self.file.counts_path())
        self.due = Due(self)
        self.pressure = Pressure(self)
        self.channels: dict[int, Channel] = {number: Channel(self, number) for number in self.numbers}
        self.handles: dict[int, QueueHandle] = {}
        self.sources: dict[int, Source] = {}
        self.watched: dict[int, Source] = {}
        self.timer = Timer(self)
        #: Not over yet: the loop is to call us. And: the client has said goodbye.
        self.listening, self.parting = True, False
        self.turns = hasattr(self.outbox, "watch_in_turn")  # of several sleepers one can be woken
        #: Belled queues that were found empty and have not said yet that we sleep (``belled.doze``).
        self.dozing: set[BelledHandle] = set()
        self.dozes: Callable[[], None] | None = getattr(self.outbox, "dozes", None)
        #: Deliveries wait for the write lock (``impatience``).
        self.stalled = False
        ruling.listen(self)

    @classmethod
    def open(
        cls,
        target: VhostTarget,
        outbox: Outbox,
        *,
        client_properties: dict[str, Any] | None = None,
        user: str = "guest",
        patience: float = 0.002,
        info: dict[str, Any] | None = None,
        counted: bool = True,
        offload: Offload | None = None,
    ) -> Session:
        """Join the vhost at ``target``.

        ``patience`` is the longest wait for a full lane, seconds. Raises AMQPError as RabbitMQ would refuse the
        connection, ``hay.errors.UnusableDirectory`` for a directory that is not safe to use, ``hay.errors.OutOfRoom``
        when there is no room to register. ``counted``: the vhost's max-connections is for it, too. ``offload`` does
        what takes as long as a disk does; None: the session waits for the disk.
        """
        vhost = Vhost.join(target)
        try:
            vhost.equip()
            if counted:
                ruling.check_connections(vhost, user)
            session = cls(vhost, outbox, info or {}, user, patience, target.durability == "disk", offload)
            session.begin()
        except BaseException:
            vhost.leave()
            raise
        outbox.watch(session.file.bell.fd)
        session.timer.set()
        recovery.recover_dead(session)
        recovery.sweep(session)
        return session

    # -- from the wire ----------------------------------------------------------------------

    def handle(self, channel: int, method: Any, properties: BasicProperties | None = None, body: bytes = b"") -> None:
        """Carry out one method of the client; replies go to the outbox."""
        if self.batch.items and method.__class__ is not _Publish:
            self.batch.store()
        if not (self.pressure.waiting and self.pressure.hold(channel, method, properties, body)):
            self.carry_out(channel, method, properties, body)

    @impatience.carefully
    def carry_out(self, channel: int, method: Any, properties: BasicProperties | None, body: bytes) -> bool:
        """Carry out one method; False when it has to wait (``pressure``).

        The one place where an error becomes a Close.
        """
        try:
            if method.__class__ is Rest:
                method.go_on()
            else:
                try:
                    handlers.dispatch(self, channel, method, properties, body)
                except OutOfRoom:
                    if method.__class__ not in scarcity.REPEATABLE:
                        raise
                    handlers.dispatch(self, channel, method, properties, body)
        except Congested as error:
            self.pressure.begin(error, (channel, method, properties, body))
            return False
        except AMQPError as error:
            self.batch.store()
            fail(self, channel, method, error)
        except BaseException as error:
            if not isinstance(error, Busy):
                self.vhost.hay.let_go()
            raise
        return True

    @impatience.as_far_as
    def on_ready(self, fd: int) -> None:
        """A watched descriptor is readable."""
        source = self.watched.get(fd)
        if source is not None:
            source.on_ready()
        elif fd == self.file.bell.fd:
            self.file.bell.drain()
            self.look_around()
            if self.journaling.waiting:
                self.journaling.settle()

    @interruptible
    @impatience.when_free
    def on_timer(self) -> None:
        """The time given to ``Outbox.call_at`` has come."""
        if self.closed or self.pressure.on_timer() or self.closed or self.journaling.on_timer():
            return
        check_place(self.vhost.hay)
        self.timer.set()
        self.due.settle()
        recovery.recover_dead(self)
        for handle in list(self.handles.values()):
            if handle.queue.deleted:
                self.forget(handle)
            elif isinstance(handle, ForeignHandle):
                handle.look(self.sources.get(handle.id))
            elif handle.lane is not None and handle.retired() and handle.id not in self.sources:
                handle.close_lane()
        timeouts.look(self)
        self.look_around()
        self.holdings.flush_acks()
        room.tend(self.vhost.hay)

    def look_around(self) -> None:
        """Something may have changed: queues gone, messages where no descriptor tells."""
        self.timer.follow()
        self.vhost.topology.sync()
        pollable = self.vhost.lanes.pollable
        until = self.sliced and self.vhost.clock.monotonic() + STRETCH
        for source in list(self.sources.values()):
            if source.queue.deleted:
                lifecycle.cancel_deleted(self, source)
                continue
            if ruling.unruly(source.handle):
                ruling.adapt(self, source.handle)
            source.follow()
            # Somebody may have been killed whom the kernel had woken for what is in the lane, and not us.
            if source.handle.closed or source.blocked or not source.idle or not pollable or source.depth():
                source.stir()
                if until and self.vhost.clock.monotonic() > until:
                    self.outbox.soon()
                else:
                    source.pump()

    @impatience.as_far_as
    def before_sleep(self) -> None:
        """The loop is about to block."""
        if self.batch.items:
            self.batch.store()
        if self.publisher.unwoken:
            self.publisher.wake()
        if self.sliced:
            deliver_some(self)
        else:
            for source in list(self.sources.values()):
                if not source.idle and not source.blocked:
                    # Unless a transaction comes that takes them along.
                    if self.holdings.acked and not source.handle.closed and not source.keeps:
                        self.holdings.flush_acks()
                    source.pump()
        if self.holdings.acked:
            self.holdings.flush_acks()
        if self.journaling.waiting:
            self.journaling.settle()

    doze = impatience.as_far_as(doze)
    peek = impatience.as_far_as(peek)
    alone = alone

    @impatience.as_far_as
    def settle(self) -> None:
        """Send the replies that need not wait for a flush any more."""
        self.journaling.settle()

    def pump(self) -> None:
        """Deliver what consumers may have now: RabbitMQ pushes before it answers."""
        for source in list(self.sources.values()):
            if not source.blocked:
                source.pump()

    @interruptible
    def close(self) -> None:
        """Give everything back and leave. Idempotent."""
        if not self.closed:
            ending.close(self)

    def abandon(self) -> None:
        """Close, after the connection was lost. The loop does not wait for it. Idempotent."""
        if not self.closed:
            ending.abandon(self)

    def unwatch_bell(self) -> None:
        """Nobody need ring any more."""
        if self.listening:
            self.listening = False
            self.outbox.unwatch(self.file.bell.fd)

    # -- for the broker's other parts -------------------------------------------------------

    def handle_for(self, queue: Queue) -> QueueHandle:
        """This session's handle of ``queue``."""
        handle = self.handles.get(queue.id)
        if handle is None:
            handle = self.handles[queue.id] = make_handle(self, queue)
            handle.counts = self.counters.row(queue.id)
        return handle

    def make_way(self, name: str) -> None:
        """Before a transaction that drains the lane of queue ``name``: see ``Holdings.make_way``."""
        topology = self.vhost.topology
        topology.sync()
        queue = topology.queues.get(name)
        if queue is not None and queue.lane is not None:
            self.holdings.make_way(self.handle_for(queue))

    def forget(self, handle: QueueHandle) -> None:
        """The queue is gone: give its descriptor back."""
        handle.close_lane()
        self.handles.pop(handle.id, None)

    def watch(self, fd: int, source: Source, *, in_turn: bool = False) -> None:
        """Have ``source`` called when ``fd`` is readable; ``in_turn`` (if ``turns``): of all that sleep so one is."""
        self.watched[fd] = source
        watch: Callable[[int], None] = getattr(self.outbox, "watch_in_turn" if in_turn else "watch")
        watch(fd)

    def unwatch(self, fd: int) -> None:
        """Stop it."""
        if self.watched.pop(fd, None) is not None:
            self.outbox.unwatch(fd)

    def wake(self, handle: QueueHandle) -> None:
        """Something was put into the hay for this queue: wake who may take it."""
        if not handle.has_consumers():
            handle.forward()
            return
        source = self.sources.get(handle.id)
        if source is not None:
            source.stir()
            self.outbox.soon()
        if not handle.leave_token():
            self.ring({key[0] for key in handle.queue.consumers})

    def wake_all(self, arrivals: Arrivals) -> None:
        """Wake the consumers of every queue that got something."""
        for handle in arrivals.touched.values():
            self.wake(handle)

    def ring(self, sessions: set[int]) -> None:
        """Have other sessions look around."""
        for session in sessions:
            if session != self.id:
                ring(self.vhost.hay, session)

    def way(self, channel: int, *name: str) -> Callable[..., bool | None] | None:
        """The short way of messages to this exchange and key, if there is one now; else of acks."""
        return express.find(self, channel, *name) if name else express.acks(self, channel)

    def rescue(self, handle: QueueHandle) -> None:
        """See ``Homing.rescue``."""
        self.homing.rescue(handle)

    def set_aside(self, queue: str, record: bytes, error: Exception | None = None) -> None:
        """Bytes in a lane that are no message of ours: keep them, say so, go on."""
        path = self.vhost.hay.set_aside(queue, record)
        LOGGER.warning(
            "queue %r: %d bytes in its kernel queue are no haypile message (%s); put aside in %s",
            queue,
            len(record),
            # Its text: a log that keeps the exception would keep this session with it.
            str(error) if error else "no record header",
            path,
        )

    def settle_gate(self, handle: QueueHandle, left: int) -> None:
        """After a look that closed the gate: whoever sleeps must see what is left."""
        if left:
            self.wake(handle)
        else:
            source = self.sources.get(handle.id)
            if source is not None:
                source.stir()
                self.outbox.soon()
            elif handle.has_consumers():
                # A consumer opens the gate again when it finds the hay empty.
                self.wake(handle)

    def context(self, moving: Moving, channel: Channel | None = None) -> Context:
        """What an operation on the topology works with, inside ``moving``."""
        self.vhost.topology.sync(moving.txn)
        return Context(
            topology=self.vhost.topology,
            txn=moving.txn,
            session=self.id,
            last_queue=channel.last_queue if channel is not None else "",
            drain=lambda queue: moving.drain(self.handle_for(queue)),
        )

    def notify(self, context: Context) -> None:
        """After the commit: queues that were deleted, and whom that concerns."""
        for queue in context.deleted:
            if queue.lane is not None:
                self.vhost.unlink_lane(queue.lane.name)
            source = self.sources.get(queue.id)
            if source is not None:
                lifecycle.cancel_deleted(self, source)
            handle = self.handles.get(queue.id)
            if handle is not None:
                self.forget(handle)
            self.ring({key[0] for key in queue.consumers})

"""A session that was asked for nothing yet but channels: an open connection, and no more.

Owns: the connection's identity on this host (lock file, bell, row in the store), its end as long as nothing was done,
and when it becomes a whole ``Session``: at the first method that needs one, and when there is something in the
vhost to be put in order.
Must not know: queues, messages, the topology. Nothing is imported here that does: two thirds of the broker's
modules, and as much of its memory, are of no use to a connection that waits.

What is due in the vhost it leaves to whole sessions, which any use of a queue needs, unless nobody sees to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pika import spec
from pika.spec import BasicProperties

from haypile.broker.interrupts import interruptible
from haypile.broker.ports import Offload, Outbox, VhostTarget
from haypile.broker.vhost import Vhost
from haypile.hay import room
from haypile.hay.locking import check_place
from haypile.hay.sessions import SessionFile, dead_sessions

#: Seconds between looks at gates and at other sessions (a consumer killed right after it took a
#: token leaves the others asleep: this look ends it). The promise is that a death is noticed within a
#: second; the rest is for a loop that comes late.
TICK = 0.8

#: Keys of the vhost's limits and, their beginning, of lanes (``rows``, which imports much).
LIMITS, LANE = b"v", b"l"
#: A session's row begins with eight octets: the last batch it moved (``holdings.ROW``).
NO_BATCH = bytes(8)


class NoPressure:
    """Nothing waits for room."""

    waiting: ClassVar[tuple[()]] = ()


class IdleSession:
    """One connection to a vhost of this host, before its first method."""

    pressure: Any = NoPressure
    #: Makes a whole session of this one (``join`` has it).
    grow: Callable[[IdleSession], None]

    def __init__(
        self,
        vhost: Vhost,
        outbox: Outbox,
        info: dict[str, Any],
        user: str,
        patience: float,
        durable: bool,
        offload: Offload | None = None,
    ) -> None:
        self.vhost = vhost
        self.outbox = outbox
        self.user = user
        self.patience = patience
        self.durable = durable
        self.offload = offload
        self.nonce = vhost.hay.nonce
        self.info = encode_info(info)
        self.file = SessionFile.create(vhost.hay, NO_BATCH + self.info)
        self.id = self.file.id
        #: What listings and the firehose call the connection.
        self.name = f"{info.get('pid', 0)}.{self.id}"
        #: The channels that are open.
        self.numbers: set[int] = set()
        self.closing = self.closed = False

    @classmethod
    def join(
        cls,
        target: VhostTarget,
        outbox: Outbox,
        *,
        grow: Callable[[IdleSession], None],
        client_properties: dict[str, Any] | None = None,
        user: str = "guest",
        patience: float = 0.002,
        info: dict[str, Any] | None = None,
        offload: Offload | None = None,
    ) -> IdleSession:
        """Join the vhost at ``target``; see ``Session.open``. ``grow`` makes a whole session of it."""
        vhost = Vhost.join(target)
        try:
            with vhost.hay.read() as reading:
                limited = reading.row(LIMITS) is not None
                lanes = sum(1 for _ in reading.rows(LANE))
            if limited:
                from haypile.broker import ruling  # noqa: PLC0415 - imports most of the broker

                vhost.equip()
                ruling.check_connections(vhost, user)
            session = cls(vhost, outbox, info or {}, user, patience, target.durability == "disk", offload)
        except BaseException:
            vhost.leave()
            raise
        session.grow = grow
        outbox.watch(session.file.bell.fd)
        session.tick()
        try:
            # Lanes are announced before their rows are written: where there are more, somebody was killed in between.
            wanted = dead_sessions(vhost.hay) or len(vhost.announced.labels()) > lanes
        except BaseException:
            session.close()
            raise
        if wanted:
            session.become_whole()
        return session

    @interruptible
    def become_whole(self) -> None:
        """From now on it is a ``Session``."""
        self.grow(self)

    # -- from the wire ----------------------------------------------------------------------

    def handle(self, channel: int, method: Any, properties: BasicProperties | None = None, body: bytes = b"") -> None:
        """Carry out one method of the client."""
        kind = method.__class__
        if kind is spec.Channel.Open and channel and channel not in self.numbers:
            self.numbers.add(channel)
            self.outbox.method(channel, spec.Channel.OpenOk())
        elif kind is spec.Channel.Close and channel in self.numbers:
            self.numbers.remove(channel)
            self.outbox.method(channel, spec.Channel.CloseOk())
        elif kind is spec.Connection.Close and not channel:
            self.close()
            self.outbox.method(0, spec.Connection.CloseOk())
        else:
            self.become_whole()
            self.handle(channel, method, properties, body)

    def on_ready(self, fd: int) -> None:
        """The bell rings: nothing that changes concerns who has no queue."""
        self.file.bell.drain()

    @interruptible
    def on_timer(self) -> None:
        """The time given to ``Outbox.call_at`` has come."""
        if self.closed:
            return
        vhost = self.vhost
        check_place(vhost.hay)
        due = vhost.hay.gates.due
        if dead_sessions(vhost.hay) or 0 < due <= vhost.clock.now():
            # Who uses a queue sees to what is due at once: there is nobody else.
            self.become_whole()
            self.on_timer()
            return
        self.tick()
        room.tend(vhost.hay)

    def tick(self) -> None:
        """Be called once a second."""
        self.outbox.call_at(self.vhost.clock.monotonic() + TICK)

    def before_sleep(self) -> None:
        """The loop is about to block."""

    @interruptible
    def close(self) -> None:
        """Leave. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.outbox.call_at(None)
        self.outbox.unwatch(self.file.bell.fd)
        try:
            with self.vhost.hay.write() as txn:
                txn.delete_session(self.id)
                if not txn.session_ids():
                    txn.on_commit.append(self.vhost.hay.peers.sweep_bodies)
        finally:
            self.file.close()
            self.vhost.leave()


def encode_info(info: dict[str, Any]) -> bytes:
    """``info`` as JSON; without its module where there is nothing to be escaped, as mostly."""
    parts = []
    for name, value in info.items():
        if value.__class__ is int:
            parts.append(f'"{name}": {value}')
        elif value.__class__ is str and value.isascii() and value.isprintable() and not {'"', "\\"} & set(value):
            parts.append(f'"{name}": "{value}"')
        else:
            import json  # noqa: PLC0415

            return json.dumps(info, default=str).encode()
    return f"{{{', '.join(parts)}}}".encode()

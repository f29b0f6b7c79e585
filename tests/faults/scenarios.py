"""What a process does that is killed: short programs of pika, each of which goes through some of the steps.

Owns: the programs, and what their stage looks like before they begin.
Must not know: where they are killed (``points``), what must be true afterwards (``check``).

Each writes a ledger (``tests.storms.ledger``) of what it sent, what was confirmed, what it was given, and what it is
about to acknowledge.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import haypile
from haypile import BasicProperties, URLParameters
from haypile.broker import holdings, swaths
from haypile.broker.holdings import Moving
from haypile.broker.source import Source
from haypile.hay import swath
from haypile.hay.swath import Swath
from haypile.lanes import limits
from haypile.lanes.posix import PosixLane, PosixLanes
from haypile.lanes.sysv import SysVLane, SysVLanes
from tests.storms.ledger import Pen

DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
QUEUES: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": ({}, False),
    "other": ({}, False),
    "lasting": ({}, True),
    "dlx": (DEAD, False),
    "ttl": ({"x-message-ttl": 1, **DEAD}, False),
    "aging": ({"x-message-ttl": 150, **DEAD}, True),
    "dead": ({}, False),
}
FANNED = ("plain", "other")
#: Of lanes, where the kernel has room.
SIZES = limits.SIZES


@dataclass
class Stage:
    """A vhost and a ledger, for one killed process."""

    url: str
    ledger: Path
    #: Bytes of a message, at least.
    least: int = 0
    #: Connections of the testing process that are open while the program runs.
    companions: list[Program] = field(default_factory=list)

    def connect(self) -> Any:
        """A connection to the vhost."""
        return haypile.BlockingConnection(URLParameters(self.url))


class Program:
    """A connection, and what it writes into the ledger."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self.least = stage.least
        self.pen = Pen(stage.ledger, name)
        self.connection = stage.connect()
        self.channel = self.connection.channel()
        self.count = 0
        self.got: list[tuple[str, str, int]] = []

    def close(self) -> None:
        """Say goodbye."""
        if self.connection.is_open:
            self.connection.close()
        self.pen.close()

    def declare(self) -> None:
        """All queues, and the exchange."""
        self.channel.exchange_declare("fan", "fanout")
        for name, (arguments, durable) in QUEUES.items():
            self.channel.queue_declare(name, durable=durable, arguments=arguments)
        for name in FANNED:
            self.channel.queue_bind(name, "fan")

    def send(self, queue: str, *, size: int = 10, lasting: bool = False, expiration: str | None = None) -> None:
        """Publish to ``queue`` (or to "fan"), and note the confirm."""
        self.count += 1
        message = f"{self.name}.{self.count}"
        fan = queue == "fan"
        body = f"{message} {'-' if fan else queue} ".encode() + b"x" * max(size, self.least)
        self.pen.write("S", message)
        properties = BasicProperties(delivery_mode=2 if lasting else 1, expiration=expiration)
        self.channel.basic_publish("fan" if fan else "", "" if fan else queue, body, properties)
        self.pen.write("C", message, ",".join(FANNED) if fan else queue)

    def note(self, queue: str, method: Any, body: bytes) -> None:
        """Write down a delivery."""
        message, origin, _ = body.split(b" ", 2)
        self.pen.write("R" if method.redelivered else "D", message.decode(), queue)
        where = origin.decode() if queue == "dead" and origin != b"-" else queue
        self.got.append((message.decode(), where, method.delivery_tag))

    def consume(self, queue: str) -> str:
        """Begin to consume; what comes is noted and let lie."""
        tag: str = self.channel.basic_consume(queue, lambda _, method, __, body: self.note(queue, method, body))
        return tag

    def wait_for(self, count: int) -> None:
        """Until so many deliveries lie there."""
        deadline = time.monotonic() + 5
        while len(self.got) < count and time.monotonic() < deadline:
            self.connection.process_data_events(0.01)

    def ack(self, count: int, *, multiple: bool = False) -> None:
        """Acknowledge the oldest ones."""
        some, self.got = self.got[:count], self.got[count:]
        for message, where, _ in some:
            self.pen.write("A", message, where)
        if multiple and some:
            self.channel.basic_ack(some[-1][2], multiple=True)
        else:
            for _, _, tag in some:
                self.channel.basic_ack(tag)

    def refuse(self, *, requeue: bool) -> None:
        """Give the oldest one back, or refuse it for good."""
        self.channel.basic_nack(self.got.pop(0)[2], requeue=requeue)

    def give_up(self, queue: str) -> None:
        """Its messages are about to be deleted."""
        for number in range(1, self.count + 1):
            self.pen.write("A", f"{self.name}.{number}", queue)


def open_close(stage: Stage) -> None:
    """A vhost comes into being."""
    program = Program(stage, "v1")
    program.declare()
    program.close()


def publish(stage: Stage) -> None:
    """Nobody consumes."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    program.send("plain")
    program.send("plain", size=20_000)
    program.send("fan", size=1000)
    program.send("lasting", lasting=True)
    program.send("lasting")
    program.send("dlx", expiration="1")
    time.sleep(0.003)
    program.send("dlx")
    program.close()


def publish_to_consumer(stage: Stage) -> None:
    """Somebody consumes, and is slow: the lane runs over."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    for size in (10, 7000, 7000, 7000, *[800] * 8):
        program.send("plain", size=size)
    program.send("plain", size=20_000)
    program.send("fan")
    program.send("lasting", lasting=True)
    program.close()


class Waiting(haypile.SelectConnection):
    """A loop that waits for the disk itself: points in another thread would come in no order."""

    threads = False


def publish_many(stage: Stage) -> None:
    """Confirms are awaited together: messages are stored together, between others, and when the connection ends."""
    program = Program(stage, "v1")
    names: list[tuple[str, str]] = []
    confirmed = 0
    kinds = (("lasting", 2), ("lasting", 2), ("lasting", 2), ("plain", 1), ("lasting", 2), ("lasting", 2))

    def send(channel: Any) -> None:
        for queue, mode in kinds:
            name = f"v1.{len(names) + 1}"
            names.append((name, queue))
            program.pen.write("S", name)
            properties = BasicProperties(delivery_mode=mode)
            channel.basic_publish("", queue, f"{name} {queue} ".encode() + b"x", properties)

    def opened(channel: Any) -> None:
        channel.confirm_delivery(lambda frame: on_confirm(channel, frame.method), callback=lambda _: send(channel))

    def on_confirm(channel: Any, method: Any) -> None:
        nonlocal confirmed
        for name, queue in names[confirmed : method.delivery_tag]:
            program.pen.write("C", name, queue)
        confirmed = method.delivery_tag
        if confirmed == len(kinds):
            send(channel)
        elif confirmed == 2 * len(kinds):
            # Not confirmed before the end.
            send(channel)
            connection.close()

    connection = Waiting(
        URLParameters(stage.url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    program.close()


def publish_into_retired_lane(stage: Stage) -> None:
    """The last consumer leaves between a publisher's look at the lane and its look again."""
    program, leaver = Program(stage, "v1"), Program(stage, "v2")
    program.channel.confirm_delivery()
    tag = leaver.consume("plain")
    program.send("plain")
    leaver.wait_for(1)
    kind: Any = PosixLane if stage.url.startswith("posix") else SysVLane
    real = kind.send
    left: list[bool] = []

    def send(lane: Any, record: bytes) -> bool:
        sent: bool = real(lane, record)
        if record and not left:
            left.append(True)
            leaver.channel.basic_cancel(tag)
        return sent

    kind.send = send
    program.send("plain")
    program.send("plain")
    leaver.close()
    program.close()


def refit(stage: Stage) -> None:
    """The kernel has no room for a lane, then for a small one, then for a good one; somebody publishes meanwhile."""
    program, other = Program(stage, "v1"), Program(stage, "v2")
    other.channel.confirm_delivery()
    asking = program.connection._impl.wire.session.vhost.asking
    create = PosixLanes.create, SysVLanes.create
    PosixLanes.create = SysVLanes.create = lambda *_: None  # type: ignore[assignment,method-assign]
    program.consume("plain")
    other.send("plain")
    PosixLanes.create, SysVLanes.create = create  # type: ignore[method-assign]
    for sizes in (((10, 512),), SIZES):
        limits.SIZES = sizes
        for size in (1, 600, 1):
            asking.due = 0.0
            other.send("plain", size=size)
            program.connection.process_data_events(0)
            other.send("plain")
    program.wait_for(13)
    program.ack(13, multiple=True)
    other.close()
    program.close()


def publish_into_replaced_lane(stage: Stage) -> None:
    """The lane is replaced between a publisher's look at it and what it sends, or its look again."""
    program, keeper, third = Program(stage, "v1"), Program(stage, "v2"), Program(stage, "v3")
    limits.SIZES = ((10, 512),)
    keeper.consume("plain")
    limits.SIZES = SIZES
    program.channel.confirm_delivery()
    third.channel.confirm_delivery()
    program.send("plain")
    keeper.wait_for(1)
    kind: Any = PosixLane if stage.url.startswith("posix") else SysVLane
    real = kind.send
    left = [600, 1200]

    def send(lane: Any, record: bytes) -> bool:
        if not record or not left:
            return bool(real(lane, record))
        size, sent = left.pop(0), False
        if size > 600:
            sent = real(lane, record)
        keeper.connection._impl.wire.session.vhost.asking.due = 0.0
        third.send("plain", size=size)
        keeper.connection.process_data_events(0)
        return sent or bool(real(lane, record))

    kind.send = send
    for _ in range(3):
        program.send("plain")
    kind.send = real
    third.close()
    keeper.close()
    program.close()


def consume(stage: Stage) -> None:
    """By way of the hay and by way of the lane; acknowledge, give back, refuse; more than the slots hold."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    for _ in range(3):
        program.send("dlx")
    program.send("lasting", lasting=True)
    program.consume("lasting")
    tag = program.consume("dlx")
    program.wait_for(4)
    program.ack(1)
    program.refuse(requeue=True)
    program.refuse(requeue=False)
    program.wait_for(2)
    program.ack(2, multiple=True)
    for _ in range(12):
        program.send("dlx", size=10)
        program.connection.process_data_events(0)
    program.wait_for(12)
    program.ack(3)
    program.refuse(requeue=True)
    program.refuse(requeue=False)
    program.wait_for(8)
    program.channel.basic_cancel(tag)
    program.ack(4, multiple=True)
    program.send("dlx")
    program.close()


def consume_passing(stage: Stage) -> None:
    """Persistent messages that nobody confirms, by way of the lane; some are left there, by both."""
    program, other = Program(stage, "v1"), Program(stage, "v2")
    program.consume("lasting")
    for size in (10, 700, 10):
        other.send("lasting", size=size, lasting=True)
    program.wait_for(3)
    program.ack(1)
    program.refuse(requeue=True)
    program.wait_for(2)
    other.send("lasting", lasting=True)
    other.send("lasting")
    program.wait_for(4)
    program.ack(3, multiple=True)
    other.send("lasting", lasting=True)
    other.connection._impl.wire.session.publisher.enroute.due = 0
    other.send("lasting", lasting=True)
    program.wait_for(3)
    other.send("lasting", lasting=True)
    other.close()
    program.close()


def consume_what_overtook(stage: Stage) -> None:
    """The lane is drained between a consumer's look at the gate and its receive; publishers saw the gate open, too."""
    program, getter, other = Program(stage, "v1"), Program(stage, "v2"), Program(stage, "v3")
    land, drain = Source.land, Moving.drain

    def drained(moving: Moving, handle: Any, *arguments: Any) -> bool:
        Moving.drain = drain  # type: ignore[method-assign]
        done = moving.drain(handle, *arguments)
        gate = handle.words[handle.base]
        handle.words[handle.base] = 0
        other.send("plain")
        other.send("plain")
        handle.words[handle.base] = gate
        return done

    def overtaken(source: Source, *arguments: Any) -> None:
        Source.land = land  # type: ignore[method-assign]
        Moving.drain = drained  # type: ignore[assignment,method-assign]
        method, _, body = getter.channel.basic_get("plain")
        getter.note("plain", method, body)
        source.land(*arguments)

    program.consume("plain")
    Source.land = overtaken  # type: ignore[assignment,method-assign]
    for _ in range(3):
        other.send("plain")
    program.wait_for(4)
    assert [name for name, *_ in program.got] == ["v3.2", "v3.3", "v3.4", "v3.5"]
    program.ack(4, multiple=True)
    getter.ack(1)
    other.close()
    getter.close()
    program.close()


def consume_aging(stage: Stage) -> None:
    """From a queue whose messages expire, by way of the lane: some are held meanwhile, some in the lane."""
    program, other = Program(stage, "v1"), Program(stage, "v2")
    program.channel.basic_qos(prefetch_count=4)
    program.consume("aging")
    other.send("aging")
    program.wait_for(1)
    for lasting in (False, True, False, False):
        other.send("aging", lasting=lasting)
    program.wait_for(4)
    other.send("aging", size=700)
    time.sleep(0.2)
    program.connection.process_data_events(0)
    program.refuse(requeue=True)
    program.ack(1)
    for lasting, held in ((False, 3), (True, 4), (False, 4)):
        other.send("aging", lasting=lasting)
        program.wait_for(held)
    other.close()
    time.sleep(0.2)
    program.refuse(requeue=False)
    program.close()


def get(stage: Stage) -> None:
    """One by one, from a queue with a consumer that has credit for nothing more."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    # More than slots, where lanes take as many.
    for _ in range(4 if stage.url.startswith("posix") else holdings.SLOTS + 2):
        program.send("plain")
    for _ in range(3):
        method, _, body = program.channel.basic_get("plain")
        if method is not None:
            program.note("plain", method, body)
    if program.got:
        program.ack(1)
    if program.got:
        program.refuse(requeue=True)
    program.close()


def lay(stage: Stage) -> None:
    """A backlog of several queues; others look at it, and a consumer comes while a message is laid."""
    swaths.BACKLOG, swath.ROOM = 2, 400
    program, other = Program(stage, "v1"), Program(stage, "v2")
    for queue in ("plain", "other", "plain", "other", "plain", "other"):
        program.send(queue)
    for _ in range(4):
        program.send("lasting", lasting=True)
    program.connection._impl.wire.session.publisher.enroute.due = 0
    program.send("lasting", lasting=True)
    program.send("fan")
    method, _, body = other.channel.basic_get("plain")
    other.note("plain", method, body)
    # It is full now and then.
    for _ in range(6):
        program.send("plain")
    other.channel.queue_declare("plain", passive=True)
    real = Swath.lay

    def joined(self: Swath, queue: int, record: bytes) -> bool:
        Swath.lay = real  # type: ignore[method-assign]
        other.consume("plain")
        done = self.lay(queue, record)
        other.consume("other")
        return done

    Swath.lay = joined  # type: ignore[method-assign]
    for _ in range(3):
        program.send("plain")
    program.send("other")
    other.wait_for(18)
    assert len(other.got) == 18
    other.ack(len(other.got), multiple=True)
    program.close()
    other.close()


def look_at_what_is_laid(stage: Stage) -> None:
    """By a get, a count, a consumer and a purge."""
    program = Program(stage, "v1")
    method, _, body = program.channel.basic_get("plain")
    program.note("plain", method, body)
    program.ack(1)
    program.channel.queue_declare("other", passive=True)
    program.consume("plain")
    program.wait_for(2)
    program.ack(1)
    program.close()


def expire(stage: Stage) -> None:
    """Messages die, and become dead letters."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    for _ in range(3):
        program.send("ttl")
    program.connection.process_data_events(0.02)
    program.send("ttl")
    program.close()


def delete(stage: Stage) -> None:
    """A queue with consumers and messages is purged, filled and deleted, and comes again."""
    program = Program(stage, "v1")
    program.channel.confirm_delivery()
    program.consume("other")
    for _ in range(3):
        program.send("other")
    program.give_up("other")
    program.channel.queue_purge("other")
    program.send("other", lasting=True)
    program.give_up("other")
    program.channel.queue_delete("other")
    program.channel.queue_declare("other")
    program.channel.queue_declare("mine", exclusive=True)
    program.channel.basic_consume("mine", lambda *_: None, auto_ack=True)
    program.channel.basic_publish("", "mine", b"mine")
    program.connection.process_data_events(0)
    program.close()


def recover(stage: Stage) -> None:
    """Somebody was killed before: this one puts in order what that one left."""
    program = Program(stage, "v2")
    program.close()


def leave_a_mess(stage: Stage) -> None:
    """Die with messages landed, taken, acknowledged and given back, a lane and an exclusive queue."""
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        return
    try:
        program = Program(stage, "v1")
        program.channel.confirm_delivery()
        program.declare()
        for _ in range(3):
            program.send("plain")
        program.send("plain", size=20_000)
        program.consume("plain")
        program.channel.queue_declare("mine", exclusive=True)
        program.channel.basic_consume("mine", lambda *_: None)
        program.wait_for(4)
        for _ in range(4):
            program.send("plain")
            program.connection.process_data_events(0)
        program.wait_for(8)
        program.ack(1)
        program.channel.basic_publish("", "mine", b"mine")
        program.send("plain")
        program.send("lasting", lasting=True)
        for queue in ["other"] * (swaths.BACKLOG + 2) + ["lasting"] * (swaths.BACKLOG + 2):
            program.send(queue)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


# -- stages -------------------------------------------------------------------------------------------


def empty(_: Stage) -> None:
    """Nothing is there."""


def declared(stage: Stage) -> None:
    """All queues are there, nobody consumes."""
    program = Program(stage, "s")
    program.declare()
    program.close()


def consumed(stage: Stage) -> None:
    """Somebody consumes from most of them, and looks at nothing until the other one is dead."""
    program = Program(stage, "s")
    program.declare()
    for queue in ("plain", "other", "lasting"):
        program.consume(queue)
    stage.companions.append(program)


def busy(stage: Stage) -> None:
    """Somebody holds one message of a queue, and may have no more."""
    program = Program(stage, "s")
    program.channel.confirm_delivery()
    program.declare()
    program.channel.basic_qos(prefetch_count=1)
    program.consume("plain")
    program.send("plain")
    program.wait_for(1)
    stage.companions.append(program)


def laid(stage: Stage) -> None:
    """Somebody has laid messages for queues that nobody consumes."""
    program = Program(stage, "s")
    program.declare()
    for queue in ["plain"] * (swaths.BACKLOG + 3) + ["other"] * (swaths.BACKLOG + 3):
        program.send(queue)
    stage.companions.append(program)


class Scenario(NamedTuple):
    """One program and its stage."""

    prepare: Callable[[Stage], None]
    run: Callable[[Stage], None]
    #: Slots of a landing.
    slots: int = holdings.SLOTS
    #: Bytes of a message, at least.
    least: int = 0


SCENARIOS = {
    "open and close": Scenario(empty, open_close),
    "publish": Scenario(declared, publish),
    "publish to a consumer": Scenario(consumed, publish_to_consumer),
    "publish many": Scenario(consumed, publish_many),
    "publish into a retired lane": Scenario(declared, publish_into_retired_lane),
    "get a better lane": Scenario(declared, refit),
    "publish into a replaced lane": Scenario(declared, publish_into_replaced_lane),
    "consume": Scenario(declared, consume, holdings.RESERVE + 8),
    "consume what passes": Scenario(declared, consume_passing, holdings.RESERVE + 4),
    "consume what overtook": Scenario(declared, consume_what_overtook),
    "consume what expires": Scenario(declared, consume_aging, holdings.RESERVE + 3),
    "get": Scenario(busy, get, holdings.RESERVE + 4),
    "lay": Scenario(declared, lay),
    "look at what is laid": Scenario(laid, look_at_what_is_laid),
    "expire": Scenario(declared, expire),
    "delete": Scenario(consumed, delete),
    "recover": Scenario(leave_a_mess, recover),
}

#: The same with bodies that no lane takes.
LARGE = (
    "publish to a consumer",
    "publish into a retired lane",
    "consume",
    "consume what passes",
    "consume what overtook",
    "consume what expires",
    "get",
    "delete",
    "recover",
)
SCENARIOS.update((f"{name}, large", SCENARIOS[name]._replace(least=20_000)) for name in LARGE)

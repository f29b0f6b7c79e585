"""The programs of a storm: publishers that wait for confirms, consumers that acknowledge.

Owns: what each does with its connection, and what it writes into the ledger.
Must not know: who is killed when.

A worker is a forked process; it writes what it is about to do, does it, and goes on until it is
killed, or told to stop. ``Mood`` is a page of shared memory by which the storm tells all of them.
"""

from __future__ import annotations

import mmap
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pika.spec import Basic

import haypile
from haypile import BasicProperties, URLParameters, exceptions
from tests.storms.ledger import Pen

#: Queues, their arguments, and whether they are durable.
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
QUEUES: dict[str, tuple[dict[str, Any], bool]] = {
    "plain1": ({}, False),
    "plain2": ({}, False),
    "plain3": ({}, False),
    "plain4": ({}, True),
    "dlx": (DEAD, False),
    "ttl": ({"x-message-ttl": 30, **DEAD}, False),
    "aging": ({"x-message-ttl": 200, **DEAD}, True),
    "short": ({"x-max-length": 20, **DEAD}, False),
    "full": ({"x-max-length": 30, "x-overflow": "reject-publish"}, False),
    "prio": ({"x-max-priority": 5}, False),
    "dead": ({}, False),
}
#: The same, of which the guardians do not consume: now and then nobody does, and backlogs come to be.
HEAPS: dict[str, tuple[dict[str, Any], bool]] = {"plain5": ({}, False), "plain6": ({}, True)}
#: Reached through a fanout exchange.
FANNED = ("plain2", "plain3", "prio")
SIZES = (0, 0, 10, 100, 1000, 3000, 7000, 9000, 20_000, 60_000, 200_000, 900_000)
PREFETCH = (1, 1, 2, 10, 60, 300, 0)

#: What the storm has its workers do.
RAGE, SETTLE, STOP = 0, 1, 2


class Mood:
    """One byte that the storm and its workers share."""

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, 4096)

    @property
    def now(self) -> int:
        """RAGE, SETTLE or STOP."""
        return self.page[0]

    def set(self, mood: int) -> None:
        """Tell all workers."""
        self.page[0] = mood


@dataclass(frozen=True)
class Storm:
    """What a worker needs to know."""

    url: str
    ledger: Path
    mood: Mood


def declare(channel: Any) -> None:
    """The queues and exchanges of the storm."""
    channel.exchange_declare("fan", "fanout")
    for name, (arguments, durable) in (QUEUES | HEAPS).items():
        channel.queue_declare(name, durable=durable, arguments=arguments)
    for name in FANNED:
        channel.queue_bind(name, "fan")


def connect(storm: Storm) -> Any:
    """A connection to the vhost of the storm."""
    return haypile.BlockingConnection(URLParameters(storm.url))


def publisher(storm: Storm, number: int) -> None:
    """Publish, and note each confirm; or, without confirms, what was published: no kill loses that either."""
    pen = Pen(storm.ledger, f"p{number}")
    draw = random.Random(number)
    connection = connect(storm)
    channel = connection.channel()
    silent = draw.random() < 0.4
    if silent:
        # Without confirms nobody is told what a full queue refuses.
        targets = ["plain4", draw.choice([name for name in QUEUES if name not in ("dead", "full")])]
    else:
        channel.confirm_delivery()
        targets = draw.sample([name for name in QUEUES if name != "dead"], 2)
    count = 0
    while storm.mood.now != STOP:
        if storm.mood.now == SETTLE:
            connection.process_data_events(0.02)
            continue
        target = draw.choice(targets)
        fan = draw.random() < 0.1
        queues = list(FANNED) if fan else [target]
        count += 1
        message = f"{number}.{count}"
        properties = BasicProperties(
            headers={"origin": ",".join(queues)} if draw.random() < 0.5 else None,
            priority=draw.randrange(6) if draw.random() < 0.3 else None,
            delivery_mode=2 if draw.random() < (0.7 if silent else 0.2) else 1,
            expiration="20" if target == "dlx" and draw.random() < 0.2 and not fan else None,
        )
        body = f"{message} {target if not fan else '-'} ".encode() + b"x" * draw.choice(SIZES)
        pen.write("S", message)
        try:
            channel.basic_publish("fan" if fan else "", target, body, properties)
        except exceptions.NackError:
            continue
        pen.write("C", message, ",".join(queues))
        if draw.random() < 0.02:
            connection.process_data_events(draw.random() * 0.02)
        if draw.random() < 0.001:
            break
    connection.close()


class Streamer:
    """Publish without waiting for each confirm, mostly persistent messages; what waits is stored together."""

    def __init__(self, storm: Storm, number: int) -> None:
        self.storm = storm
        self.number = number
        self.pen = Pen(storm.ledger, f"s{number}")
        self.draw = random.Random(number)
        #: Awaited at a time.
        self.most = self.draw.choice((2, 20, 90))
        self.sent = 0
        self.awaited: dict[int, tuple[str, str]] = {}

    def run(self) -> None:
        """Until told to stop."""
        connection = haypile.SelectConnection(
            URLParameters(self.storm.url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self.opened),
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )
        connection.ioloop.start()

    def opened(self, channel: Any) -> None:
        """Its channel is there."""
        self.channel = channel
        channel.confirm_delivery(self.confirmed, callback=lambda _: self.look())

    def look(self) -> None:
        """What the storm wants now; and again in a moment."""
        connection = self.channel.connection
        if self.storm.mood.now == STOP or self.draw.random() < 0.002:
            connection.close()
            return
        self.fill()
        connection.ioloop.call_later(self.draw.random() * 0.05, self.look)

    def fill(self) -> None:
        """Publish as much as may be awaited."""
        draw = self.draw
        while len(self.awaited) < self.most and self.storm.mood.now == RAGE and self.channel.is_open:
            self.sent += 1
            message = f"{self.number}.{self.sent}"
            queue = draw.choice(("plain4", "plain4", "plain4", "plain4", "plain4", "plain1", "full"))
            properties = BasicProperties(delivery_mode=2 if draw.random() < 0.9 else 1)
            self.pen.write("S", message)
            self.awaited[self.sent] = message, queue
            body = f"{message} {queue} ".encode() + b"x" * draw.choice(SIZES[:5])
            self.channel.basic_publish("", queue, body, properties)

    def confirmed(self, frame: Any) -> None:
        """One or several."""
        method = frame.method
        first = min(self.awaited) if method.multiple else method.delivery_tag
        for tag in range(first, method.delivery_tag + 1):
            message, queue = self.awaited.pop(tag)
            if isinstance(method, Basic.Ack):
                self.pen.write("C", message, queue)
        if self.draw.random() < 0.2:
            self.fill()


def streamer(storm: Storm, number: int) -> None:
    """Many confirms awaited at a time."""
    Streamer(storm, number).run()


class Consumer:
    """Take messages from some queues; acknowledge, put back, refuse."""

    def __init__(self, storm: Storm, number: int, queues: list[str]) -> None:
        self.storm = storm
        self.pen = Pen(storm.ledger, f"c{number}")
        self.draw = random.Random(number)
        self.queues = queues
        self.unacked = 0
        #: Acknowledge all at once after so many.
        self.every = self.draw.choice((1, 1, 1, 7, 40))
        self.pause = self.draw.choice((0.0, 0.0, 0.0, 0.002))

    def run(self) -> None:
        """Until told to stop."""
        self.connection = connection = connect(self.storm)
        channel = connection.channel()
        prefetch = self.draw.choice(PREFETCH)
        channel.basic_qos(prefetch_count=prefetch)
        self.every = min(self.every, prefetch or self.every)
        tags = [channel.basic_consume(queue, self.receiver(queue)) for queue in self.queues]
        while self.storm.mood.now != STOP:
            connection.process_data_events(0.02)
            if self.storm.mood.now == SETTLE:
                self.flush(channel)
            elif self.draw.random() < 0.01 and tags:
                at = self.draw.randrange(len(tags))
                channel.basic_cancel(tags[at])
                tags[at] = channel.basic_consume(self.queues[at], self.receiver(self.queues[at]))
            elif self.draw.random() < 0.005:
                break
        if self.draw.random() < 0.5:
            self.flush(channel)
        connection.close()

    def flush(self, channel: Any) -> None:
        """Acknowledge what was let lie."""
        if self.unacked:
            channel.basic_ack(0, multiple=True)
            self.unacked = 0

    def receiver(self, queue: str) -> Callable[..., None]:
        """What is called with each message of ``queue``."""
        draw, pen = self.draw, self.pen

        def receive(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            message, origin, _ = body.split(b" ", 2)
            name = message.decode()
            pen.write("R" if method.redelivered else "D", name, queue)
            if self.pause:
                time.sleep(self.pause)
            raging = self.storm.mood.now == RAGE
            chance = draw.random() if raging else 1.0
            if chance < 0.05:
                channel.basic_nack(method.delivery_tag, requeue=True)
                return
            if chance < 0.15 and queue in ("dlx", "ttl", "aging", "short"):
                channel.basic_reject(method.delivery_tag, requeue=False)
                return
            pen.write("A", name, origin.decode() if queue == "dead" and origin != b"-" else queue)
            self.unacked += 1
            if self.every == 1:
                channel.basic_ack(method.delivery_tag)
                self.unacked = 0
            elif self.unacked >= self.every or not raging:
                channel.basic_ack(method.delivery_tag, multiple=True)
                self.unacked = 0

        return receive


def consumer(storm: Storm, number: int) -> None:
    """Consume from one to three queues."""
    draw = random.Random(number)
    Consumer(storm, number, draw.sample(list(QUEUES), draw.choice((1, 1, 2, 3)))).run()


def guardian(storm: Storm, number: int) -> None:
    """Consume from every queue."""
    Consumer(storm, number, list(QUEUES)).run()


def heaper(storm: Storm, number: int) -> None:
    """Publish to queues that mostly nobody consumes, many at a time."""
    pen = Pen(storm.ledger, f"h{number}")
    draw = random.Random(number)
    connection = connect(storm)
    channel = connection.channel()
    count = 0
    while storm.mood.now != STOP:
        if storm.mood.now == SETTLE:
            connection.process_data_events(0.02)
            continue
        queue = draw.choice(list(HEAPS))
        for _ in range(draw.choice((1, 10, 40, 200))):
            count += 1
            message = f"{number}.{count}"
            properties = BasicProperties(
                headers={"origin": queue} if draw.random() < 0.1 else None,
                delivery_mode=2 if draw.random() < 0.3 else 1,
            )
            pen.write("S", message)
            body = f"{message} {queue} ".encode() + b"x" * draw.choice(SIZES[:8])
            channel.basic_publish("", queue, body, properties)
            pen.write("C", message, queue)
        # All of it is to be worked off once it is calm.
        connection.process_data_events(draw.random() * 0.04)
    connection.close()


def visitor(storm: Storm, number: int) -> None:
    """Look at what has been heaped up, get some of it, consume for a moment; and all of it once it is calm."""
    draw = random.Random(number)
    one = Consumer(storm, number, [])
    one.connection = connection = connect(storm)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=draw.choice(PREFETCH[1:]))
    one.every, one.pause = 1, 0.0
    while storm.mood.now == RAGE:
        queue = draw.choice(list(HEAPS))
        chance = draw.random()
        if chance < 0.3:
            channel.queue_declare(queue, passive=True)
        elif chance < 0.6:
            for _ in range(draw.randrange(30)):
                method, properties, body = channel.basic_get(queue)
                if method is None:
                    break
                one.receiver(queue)(channel, method, properties, body)
        else:
            tag = channel.basic_consume(queue, one.receiver(queue))
            connection.process_data_events(draw.random() * 0.03)
            channel.basic_cancel(tag)
        connection.process_data_events(draw.random() * 0.03)
    for queue in HEAPS:
        channel.basic_consume(queue, one.receiver(queue))
    while storm.mood.now != STOP:
        connection.process_data_events(0.02)
    connection.close()


def getter(storm: Storm, number: int) -> None:
    """Take messages one by one by basic.get."""
    pen = Pen(storm.ledger, f"g{number}")
    draw = random.Random(number)
    connection = connect(storm)
    channel = connection.channel()
    while storm.mood.now != STOP:
        if storm.mood.now == SETTLE:
            connection.process_data_events(0.02)
            continue
        queue = draw.choice(list(QUEUES))
        method, _, body = channel.basic_get(queue)
        if method is None:
            connection.process_data_events(0.005)
            continue
        message, origin, _ = body.split(b" ", 2)
        pen.write("R" if method.redelivered else "D", message.decode(), queue)
        if draw.random() < 0.2:
            channel.basic_nack(method.delivery_tag)
        else:
            pen.write("A", message.decode(), origin.decode() if queue == "dead" and origin != b"-" else queue)
            channel.basic_ack(method.delivery_tag)
    connection.close()


def passer(storm: Storm, number: int) -> None:
    """Come and go: short connections, queues of its own, a consumer that is killed before it began."""
    draw = random.Random(number)
    while storm.mood.now != STOP:
        connection = connect(storm)
        channel = connection.channel()
        own = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(own, lambda *_: None, auto_ack=True)
        for _ in range(draw.randrange(20)):
            channel.basic_publish("", own, b"own")
        shared = f"churn{draw.randrange(3)}"
        try:
            channel.queue_declare(shared, auto_delete=draw.random() < 2)
            channel.basic_consume(shared, lambda *_: None)
            for _ in range(draw.randrange(20)):
                channel.basic_publish("", shared, b"churn" * draw.randrange(2000))
            connection.process_data_events(0.01)
            if draw.random() < 0.3:
                channel.queue_delete(shared)
        except (exceptions.ChannelClosed, exceptions.ConsumerCancelled):
            pass
        connection.close()
        time.sleep(draw.random() * 0.02)

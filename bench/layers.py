"""``python -m bench.layers``: what each layer costs by itself, so that a regression names its layer.

Everything runs in one process over a private state directory: a publishing and a consuming
connection, and below them the objects they are made of. Microseconds are the median burst of the
best of several repeats (the machine can only add to them); bytes are the most that one call had
allocated at once, and blocks what it left behind. Unlike the scenarios this file knows haypile's
inside.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pika import spec
from pika.adapters import blocking_connection

import haypile
from bench.transports import SHARED_MEMORY
from haypile.broker import message
from haypile.hay.store import Hay
from haypile.lanes.landing import Landing
from haypile.lanes.posix import PosixLane, PosixLanes

#: Operations in a burst: a kernel queue holds ten messages by default.
BURST = 8
#: Operations in a burst that goes to the store.
PILE = 64
#: Messages of a backlog: its publisher puts some hundreds into the store at a time.
HEAP = 2048

Work = Callable[[], object]


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Layer:
    """``burst`` operations of one kind in ``work``; ``prepare`` is not timed."""

    name: str
    work: Work
    burst: int = BURST
    prepare: Work = nothing


@dataclass(frozen=True)
class Cost:
    """What one operation of a layer takes."""

    microseconds: float
    peak_bytes: float
    blocks: float


def measure(layer: Layer, seconds: float, repeats: int) -> Cost:
    """The cost of one operation."""
    prepare, work, clock = layer.prepare, layer.work, time.perf_counter
    best = float("inf")
    for _ in range(repeats):
        bursts = []
        until = clock() + seconds
        while clock() < until:
            prepare()
            start = clock()
            work()
            bursts.append(clock() - start)
        # The median forgets the bursts in which the machine did something else.
        best = min(best, statistics.median(bursts) / layer.burst)
    prepare()
    gc.collect()
    blocks = sys.getallocatedblocks()
    work()
    blocks = sys.getallocatedblocks() - blocks
    prepare()
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return Cost(best * 1e6, peak / layer.burst, blocks / layer.burst)


def times(count: int, call: Callable[..., object], *arguments: Any) -> Work:
    """Work that calls ``call`` so often."""
    turns = range(count)

    def work() -> None:
        for _ in turns:
            call(*arguments)

    return work


# -- messages -----------------------------------------------------------------------------------


def messages(body: bytes) -> Iterator[Layer]:
    """Records and properties."""
    nonce = b"nonceful"
    properties = haypile.BasicProperties(delivery_mode=1, correlation_id="7", reply_to="answers")
    headers = haypile.BasicProperties(headers={"shape": "round", "weight": 7})
    prefix = message.encode_prefix("logs", "site.4.temp")
    encoded = message.encode_properties(properties)
    record = message.encode(nonce, 1, 1, prefix, encoded, body, 0, 0)
    yield Layer("message: properties to bytes", times(100, message.encode_properties, properties), 100)
    yield Layer("message: headers to bytes", times(100, message.encode_properties, headers), 100)
    yield Layer("message: encode", times(100, message.encode, nonce, 1, 1, prefix, encoded, body, 0, 0), 100)
    yield Layer("message: decode", times(100, message.decode, record, nonce), 100)
    yield Layer("message: what a client sees", times(100, message.contents, record, nonce), 100)
    # What pika makes of a message for each callback, and what a callback could not do without.
    yield Layer("pika: deliver, properties, event", times(100, pikas_objects), 100)


def pikas_objects() -> None:
    """The objects of one delivery, made by pika's own constructors."""
    method = spec.Basic.Deliver("consumer", 1, False, "", "queue")
    blocking_connection._ConsumerDeliveryEvt(method, spec.BasicProperties(), b"")


# -- kernel queues ------------------------------------------------------------------------------


def lanes(directory: Path, record: bytes) -> Iterator[Layer]:
    """A POSIX queue and the landing."""
    lane = PosixLanes().create("bench")
    if lane is None:
        return
    lane.unlink()
    landing = Landing.create(directory / "landing")

    def empty() -> None:
        while lane.receive() is not None:
            pass

    def full() -> None:
        empty()
        for _ in range(BURST):
            lane.send(record)

    def land() -> None:
        for _ in range(BURST):
            slot = landing.take(lane)
            assert slot is not None
            landing.record(slot)
            landing.clear(slot)

    slot = landing.address(0)
    with contextlib.closing(lane), contextlib.closing(landing):
        yield Layer("lane: send", times(BURST, lane.send, record), BURST, empty)
        yield Layer("lane: receive", times(BURST, lane.receive), BURST, full)
        yield Layer("lane: receive into a landing", times(BURST, lane.receive_into, slot), BURST, full)
        yield Layer("lane: land, read, clear", land, BURST, full)
        yield Layer("lane: send to a full one", times(BURST, lane.send, record), BURST, _fill(lane, record))
        yield Layer("lane: receive from an empty one", times(BURST, lane.receive), BURST, empty)


def _fill(lane: PosixLane, record: bytes) -> Work:
    def fill() -> None:
        while lane.send(record):
            pass

    return fill


# -- the store ----------------------------------------------------------------------------------


def store(directory: Path, record: bytes) -> Iterator[Layer]:
    """Transactions of the hay, one operation each and many."""
    hay = Hay.open(directory / "hay")
    orders = iter(range(1, 1 << 62))

    def put(count: int) -> None:
        with hay.write() as txn:
            for _ in range(count):
                txn.put(1, b"\xff" + next(orders).to_bytes(8, "big") + bytes(4), record)

    def clear() -> None:
        with hay.write() as txn:
            txn.purge(1)

    def refill() -> None:
        clear()
        put(PILE)

    def take(count: int) -> None:
        with hay.write() as txn:
            txn.take(1, count)

    def hold(count: int) -> None:
        with hay.write() as txn:
            held = txn.hold(1, count, 1, 1)
        with hay.write() as txn:
            txn.drop(1, range(1, 1 + len(held)))

    def look() -> None:
        with hay.read() as txn:
            txn.count(1)

    def begin() -> None:
        with hay.write():
            pass

    with contextlib.closing(hay):
        yield Layer("hay: empty write transaction", times(100, begin), 100)
        yield Layer("hay: read a count", times(100, look), 100)
        yield Layer("hay: put, one by one", times(PILE, put, 1), PILE, clear)
        yield Layer("hay: put, 64 together", times(1, put, PILE), PILE, clear)
        yield Layer("hay: take, one by one", times(PILE, take, 1), PILE, refill)
        yield Layer("hay: take, 64 together", times(1, take, PILE), PILE, refill)
        yield Layer("hay: hold and drop, one by one", times(PILE, hold, 1), PILE, refill)
        yield Layer("hay: hold and drop, 64 together", times(1, hold, PILE), PILE, refill)


# -- whole ways ---------------------------------------------------------------------------------


class Pair:
    """A publishing and a consuming connection of this process."""

    def __init__(self, body: bytes) -> None:
        parameters = haypile.URLParameters("posix:///bench")
        self.body = body
        self.publisher = haypile.BlockingConnection(parameters)
        self.consumer = haypile.BlockingConnection(parameters)
        self.out = self.publisher.channel()
        self.confirmed = self.publisher.channel()
        self.confirmed.confirm_delivery()
        self.into = self.consumer.channel()
        self.got = 0

    def close(self) -> None:
        for queue in ("auto", "manual", "pile"):
            self.into.queue_delete(queue)
        self.consumer.close()
        self.publisher.close()

    def take(self) -> None:
        """Everything that waits."""
        self.consumer.process_data_events(time_limit=0)

    def fill(self, queue: str, count: int = BURST) -> Work:
        """Preparation: so many messages wait in ``queue``."""
        return times(count, self.out.basic_publish, "", queue, self.body)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.got += 1

    def on_acked(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)

    def layers(self) -> Iterator[Layer]:
        publish, body = self.out.basic_publish, self.body
        for queue in ("auto", "manual", "pile"):
            self.into.queue_declare(queue)
        self.into.basic_consume("auto", self.on_message, auto_ack=True)
        self.into.basic_consume("manual", self.on_acked)
        yield Layer("publish: to no queue", times(100, publish, "amq.fanout", "", body), 100)
        yield Layer("publish: to a lane", times(BURST, publish, "", "auto", body), BURST, self.take)
        confirmed = self.confirmed.basic_publish
        yield Layer(
            "publish: to a lane, confirmed", times(BURST, confirmed, "", "auto", body), BURST, self.take
        )
        self.take()
        yield Layer("deliver: from a lane", self.take, BURST, self.fill("auto"))
        yield Layer("deliver: from a lane, acked", self.take, BURST, self.fill("manual"))
        yield Layer("deliver: one, and the loop", self.take, 1, self.fill("auto", 1))
        yield Layer("loop: nothing to do", self.take, 1)

        def purge() -> None:
            self.into.queue_purge("pile")

        yield Layer("publish: a backlog", times(HEAP, publish, "", "pile", body), HEAP, purge)
        # Nothing that may be laid first (``broker.swaths``).
        expires = haypile.BasicProperties(expiration="600000")
        yield Layer("publish: to the hay", times(PILE, publish, "", "pile", body, expires), PILE, purge)
        purge()
        yield Layer("deliver: from the hay", self.take, PILE, self.fill("auto", PILE))
        yield Layer("deliver: from the hay, acked", self.take, PILE, self.fill("manual", PILE))
        fill = self.fill("pile", PILE)
        yield Layer("get: from the hay", times(PILE, self.into.basic_get, "pile", True), PILE, fill)
        yield Layer("declare: a queue that is there", times(PILE, self.into.queue_declare, "pile"), PILE)


def all_layers(directory: Path, size: int) -> Iterator[Layer]:
    """Every layer, from the bottom up."""
    body = os.urandom(size)
    yield from messages(body)
    yield from lanes(directory, body)
    yield from store(directory, body)
    pair = Pair(body)
    try:
        yield from pair.layers()
    finally:
        pair.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layers", description=__doc__)
    parser.add_argument("--size", type=int, default=100, help="bytes of a body")
    parser.add_argument("--only", default="", metavar="TEXT", help="layers whose name contains TEXT")
    parser.add_argument("--seconds", type=float, default=0.04, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="haypile-bench-", dir=place))
    os.environ["HAYPILE_DIR"] = str(directory / "vhosts")
    os.environ["HAYPILE_JOURNAL_DIR"] = str(directory / "journals")
    costs: dict[str, Cost] = {}
    print(f"{'':<36}{'us':>9}{'peak bytes':>12}{'blocks left':>13}")
    try:
        for layer in all_layers(directory, options.size):
            if options.only in layer.name:
                cost = costs[layer.name] = measure(layer, options.seconds, options.repeats)
                numbers = f"{cost.microseconds:>9.2f}{cost.peak_bytes:>12.0f}{cost.blocks:>13.2f}"
                print(f"{layer.name:<36}{numbers}", flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        options.json.write_text(
            json.dumps({name: vars(cost) for name, cost in costs.items()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

"""Many processes at once: whatever they do to the topology, one consistent vhost is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

import haypile
from haypile import targets
from haypile.broker import rows
from haypile.broker.aside import HELD_BACK
from haypile.broker.topology import Topology
from haypile.broker.vhost import Vhost as Shared
from haypile.hay.layout import READY
from tests.support.vhosts import Vhost

Connect = Callable[[], BlockingConnection]
SECONDS = 2.0

RACER = """
import random, sys, time
import haypile, pika

url, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(seed)
connection = haypile.BlockingConnection(haypile.URLParameters(url))
channel = connection.channel()
queues, exchanges = ["q0", "q1", "q2"], ["x0", "x1"]
operations = [
    lambda: channel.queue_declare(chance.choice(queues)),
    lambda: channel.exchange_declare(chance.choice(exchanges), "topic"),
    lambda: channel.exchange_declare("auto", "fanout", auto_delete=True),
    lambda: channel.queue_bind(chance.choice(queues), chance.choice([*exchanges, "auto"]), chance.choice("ab")),
    lambda: channel.queue_unbind(chance.choice(queues), chance.choice([*exchanges, "auto"]), chance.choice("ab")),
    lambda: channel.exchange_bind("x0", "x1", "#"),
    lambda: channel.queue_delete(chance.choice(queues)),
    lambda: channel.exchange_delete(chance.choice(exchanges)),
    lambda: channel.queue_purge(chance.choice(queues)),
    lambda: channel.basic_publish(chance.choice(["", *exchanges]), chance.choice(["a", *queues]), b"x" * 300),
    lambda: channel.basic_publish("", chance.choice(queues), b"y"),
    lambda: channel.basic_get(chance.choice(queues), auto_ack=chance.random() < 0.5),
    lambda: channel.basic_consume(chance.choice(queues), lambda *_: None, auto_ack=True),
    lambda: [channel.basic_cancel(tag) for tag in list(channel.consumer_tags)],
]
done = 0
until = time.monotonic() + seconds
while time.monotonic() < until:
    try:
        chance.choice(operations)()
        connection.process_data_events(0)
        done += 1
    except pika.exceptions.ChannelClosed as closed:
        assert closed.args[0] == 404, closed
        channel = connection.channel()
    if channel.is_closed:
        # By a publish, which has no answer.
        channel = connection.channel()
print(done)
connection.close()
"""


def check(posix: Vhost) -> None:
    """Every row leads somewhere, the cache shows the rows, and the store has messages of living queues only."""
    target = targets.resolve(haypile.URLParameters(posix.url))
    shared = Shared.join(target)
    try:
        shared.equip()
        shared.topology.sync()
        fresh = Topology(shared.hay, shared.name)
        fresh.sync()
        gates = shared.hay.gates
        assert len({queue.slot for queue in fresh.queues.values()}) == len(fresh.queues)
        for queue in fresh.queues.values():
            assert fresh.by_id[queue.id] is queue
            assert not queue.consumers and queue.lane is None
            assert gates.words[64 + 8 * queue.slot + 3] == queue.id
        for destination, bindings in fresh.bound_to.items():
            ends = fresh.queues if destination.is_queue else fresh.exchanges
            assert destination.name in ends
            assert all(binding.source in fresh.exchanges for binding in bindings.values())
        kinds = {rows.EXCHANGE, rows.QUEUE, rows.BINDING, rows.HISTORY}
        with shared.hay.read() as reading:
            assert {key[:1] for key, _ in reading.rows()} <= kinds
            with reading._txn.cursor() as cursor:
                found = cursor.set_range(bytes((READY,)))
                held = set()
                while found:
                    held.add(int.from_bytes(cursor.key()[1:5], "big"))
                    found = cursor.next()
        assert held <= fresh.by_id.keys() | {HELD_BACK}
    finally:
        shared.leave()


def test_racing_processes_leave_one_consistent_vhost(posix: Vhost) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, posix.url, str(seed), str(SECONDS)],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    ended = [(racer, *racer.communicate(timeout=60)) for racer in racers]
    for racer, output, errors in ended:
        assert racer.returncode == 0, errors
        assert int(output) > 20
    check(posix)


def test_deleting_a_queue_cancels_consumers_in_other_connections(connect: Connect) -> None:
    one, other = connect(), connect().channel()
    channel = one.channel()
    cancelled: list[Any] = []
    channel.queue_declare("q")
    channel.add_on_cancel_callback(cancelled.append)
    tag = channel.basic_consume("q", lambda *_: None)
    other.queue_delete("q")
    deadline = time.monotonic() + 3
    while not cancelled and time.monotonic() < deadline:
        one.process_data_events(0.1)
    assert [frame.method.consumer_tag for frame in cancelled] == [tag]


DELETER = """
import sys, time
import haypile

connection = haypile.BlockingConnection(haypile.URLParameters(sys.argv[1]))
channel = connection.channel()
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    channel.queue_declare("q")
    channel.basic_consume("q", lambda *_: None, auto_ack=True)
    time.sleep(0.002)
    channel.queue_delete("q")
    channel.queue_declare("filler")
    channel.queue_delete("filler")
connection.close()
"""


def test_publishing_to_a_queue_that_comes_and_goes(posix: Vhost, channel: BlockingChannel) -> None:
    channel.queue_declare("safe")
    channel.confirm_delivery()
    racer = subprocess.Popen([sys.executable, "-c", DELETER, posix.url, str(SECONDS)], env=dict(os.environ))
    routed = unroutable = 0
    longest = 0.0
    while racer.poll() is None:
        begun = time.monotonic()
        try:
            channel.basic_publish("", "q", b"x" * 200, mandatory=True)
            routed += 1
        except pika.exceptions.UnroutableError:
            unroutable += 1
        longest = max(longest, time.monotonic() - begun)
    assert racer.returncode == 0
    assert routed and unroutable
    assert longest < 2
    assert channel.queue_declare("safe", passive=True).method.message_count == 0
    for queue in ("q", "filler"):
        assert channel.queue_declare(queue).method.message_count == 0
        channel.queue_delete(queue)
    channel.connection.close()
    check(posix)

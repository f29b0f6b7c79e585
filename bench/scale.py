"""``python -m bench.scale``: what must not grow with the topology, and how fast a long queue expires.

Owns: four measurements over a private state directory (haypile alone, no RabbitMQ):
``topic`` and ``headers``, publishing through an exchange with many bindings against one with ten; ``queues``,
declaring many queues, and publishing before and after; ``expiry``, a queue whose messages all expire at once, and
the longest pause of a publisher in another process meanwhile.
Prints ratios and figures.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import haypile
from bench.transports import SHARED_MEMORY
from haypile.broker.session import Session

#: Publishes in one timed burst, and bursts.
BURST, BURSTS = 500, 15
URL = "posix:///scale"


def connect() -> Any:
    """A connection to the private vhost."""
    return haypile.BlockingConnection(haypile.URLParameters(URL))


def publishing(channel: Any, exchange: str, keys: list[str], headers: list[dict[str, Any]] | None = None) -> float:
    """Microseconds of processor time a publish to a purged queue takes: the median of bursts."""
    found = []
    properties = [haypile.BasicProperties(headers=one) for one in headers or [{}]]
    for _ in range(BURSTS):
        channel.queue_purge("sink")
        start = time.process_time()
        for number in range(BURST):
            channel.basic_publish(exchange, keys[number % len(keys)], b"x" * 100, properties[number % len(properties)])
        found.append((time.process_time() - start) / BURST * 1e6)
    return statistics.median(found)


def topic(size: int) -> dict[str, float]:
    """Ten bindings of a topic exchange against ``size``; the keys repeat, as routing keys do."""
    return _bindings("topic", size, lambda number: (f"a.{number}.*", None), ["a.1.b", "a.2.c", "a.3.d", "a.4.e"], None)


def headers(size: int) -> dict[str, float]:
    """Ten bindings of a headers exchange against ``size``."""
    sent = [{"n": number, "kind": "x"} for number in range(1, 5)]
    return _bindings("headers", size, lambda number: ("", {"x-match": "all", "n": number, "kind": "x"}), ["k"], sent)


def _bindings(
    kind: str,
    size: int,
    binding: Callable[[int], tuple[str, dict[str, Any] | None]],
    keys: list[str],
    sent: list[dict[str, Any]] | None,
) -> dict[str, float]:
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("sink")
    for exchange, count in (("few", 10), ("many", size)):
        channel.exchange_declare(exchange, kind)
        for number in range(count):
            key, arguments = binding(number)
            channel.queue_bind("sink", exchange, key, arguments)
    publishing(channel, "few", keys, sent)
    rounds = [[publishing(channel, exchange, keys, sent) for exchange in ("few", "many")] for _ in range(3)]
    few, many = (min(one[at] for one in rounds) for at in (0, 1))
    connection.close()
    return {"bindings": size, "ten, us": few, "many, us": many, "ratio": many / few}


def queues(size: int) -> dict[str, float]:
    """Declaring ``size`` queues; publishing before and after."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("sink")
    publishing(channel, "", ["sink"])
    before = min(publishing(channel, "", ["sink"]) for _ in range(3))
    start = time.perf_counter()
    for number in range(size):
        channel.queue_declare(f"queue-{number}")
    took = time.perf_counter() - start
    after = min(publishing(channel, "", ["sink"]) for _ in range(3))
    connection.close()
    return {"queues": size, "declared in, s": took, "before, us": before, "after, us": after, "ratio": after / before}


# -- expiry -----------------------------------------------------------------------------------


def expiry(size: int) -> dict[str, float]:
    """``size`` messages that expire at one moment, while a connection's loop turns and another process publishes."""
    filling = connect()
    channel = filling.channel()
    channel.queue_declare("expiring", arguments={"x-message-ttl": 3_600_000})
    deadline = time.monotonic() + 5 + size / 12_000
    for _ in range(size):
        left = max(int((deadline - time.monotonic()) * 1000), 0)
        channel.basic_publish("", "expiring", b"x" * 100, haypile.BasicProperties(expiration=str(left)))
    filled = channel.queue_declare("expiring", passive=True).method.message_count
    filling.close()
    command = [sys.executable, "-m", "bench.scale", "--publish", str(deadline)]
    publisher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert publisher.stdout is not None
    publisher.stdout.readline()
    watching = connect()
    # Whoever uses a queue sees to what is due at once.
    watching.channel().queue_declare("expiring", passive=True)
    count = _counter("expiring")
    while count() == filled:
        watching.process_data_events(0.001)
    start = time.perf_counter()
    while left := count():
        watching.process_data_events(0.001)
    took = time.perf_counter() - start
    before, during, published = map(float, publisher.communicate("stop")[0].split())
    watching.close()
    return {
        "messages": filled,
        "expired in, s": took,
        "per second": filled / took,
        "a publisher's longest pause before, ms": before * 1e3,
        "during, ms": during * 1e3,
        "published during": published,
    }


def _counter(queue: str) -> Callable[[], int]:
    """Reads how many messages the store has, which settles nothing."""
    (session,) = [one for one in gc.get_objects() if isinstance(one, Session) and not one.closed]
    session.vhost.topology.sync()
    hay, number = session.vhost.hay, session.vhost.topology.queues[queue].id
    return lambda: int(hay.count_now(number))


def publish(deadline: float) -> None:
    """The other process: publishes one by one until its input ends."""
    connection = connect()
    channel = connection.channel()
    channel.queue_declare("other", arguments={"x-max-length": 1000})
    before = during = 0.0
    published = 0
    print("ready", flush=True)
    last = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        channel.basic_publish("", "other", b"x" * 100)
        now = time.monotonic()
        if now > deadline:
            during = max(during, now - last)
            published += 1
        elif now > deadline - 2:
            before = max(before, now - last)
        last = now
        time.sleep(0.0005)
        last += 0.0005
    connection.close()
    print(before, during, published)


MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, float]], int]] = {
    "topic": (topic, 10_000),
    "headers": (headers, 1_000),
    "queues": (queues, 10_000),
    "expiry": (expiry, 1_000_000),
}


def measure(name: str, size: int | None = None) -> dict[str, float]:
    """One measurement in a fresh state directory."""
    call, usual = MEASUREMENTS[name]
    directory = tempfile.mkdtemp(prefix="haypile-scale-", dir=SHARED_MEMORY)
    before = {key: os.environ.get(key) for key in ("HAYPILE_DIR", "HAYPILE_JOURNAL_DIR")}
    os.environ["HAYPILE_DIR"], os.environ["HAYPILE_JOURNAL_DIR"] = directory, f"{directory}/journal"
    try:
        return call(size or usual)
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(MEASUREMENTS), metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--size", type=int, help="bindings, queues or messages (default: the issue's)")
    parser.add_argument("--publish", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish is not None:
        publish(options.publish)
        return
    for name in options.names:
        for what, value in measure(name, options.size).items():
            print(f"{name:8} {what:40} {value:,.2f}")


if __name__ == "__main__":
    main()

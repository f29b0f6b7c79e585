"""Figures of links. ``python -m tests.links speed`` and ``python -m tests.links storm``.

speed: how many messages of 1 KB a link moves a second, to a RabbitMQ beside pika with confirms and the same window,
and from it beside pika with a prefetch as large.
storm: a RabbitMQ of our own is stopped or killed at random while messages go each way; then all are counted.
HAYPILE_DIR should name a fresh directory.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika

from tests.links.links import LOCAL, Running, connect, drain, publish
from tests.links.test_links import ROUTES, in_order, unmarked
from tests.support.node import Node

WINDOW = 500
ROUNDS = 5


def run_plainly(url: str, ready: Callable[[Any], None]) -> float:
    """Seconds of a pika connection from when its channel is ``ready`` until it is closed."""
    start = [0.0]

    def begin(channel: Any) -> None:
        start[0] = time.perf_counter()
        ready(channel)

    connection: Any = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda one: one.channel(on_open_callback=begin),
        on_close_callback=lambda one, _: one.ioloop.stop(),
    )
    connection.ioloop.start()
    return time.perf_counter() - start[0]


def publish_plainly(url: str, count: int) -> float:
    """Seconds that pika alone takes for ``count`` confirmed messages, ``WINDOW`` in flight."""
    state = {"sent": 0, "confirmed": 0}

    def send(channel: Any) -> None:
        while state["sent"] < count and state["sent"] - state["confirmed"] < WINDOW:
            channel.basic_publish("", "plain", b"x" * 1024, pika.BasicProperties(delivery_mode=2), mandatory=True)
            state["sent"] += 1

    def confirmed(channel: Any, method: Any) -> None:
        state["confirmed"] = method.delivery_tag if method.multiple else state["confirmed"] + 1
        if state["confirmed"] >= count:
            channel.connection.close()
        else:
            send(channel)

    def ready(channel: Any) -> None:
        channel.confirm_delivery(lambda frame: confirmed(channel, frame.method), lambda _: send(channel))

    return run_plainly(url, ready)


def consume_plainly(url: str, count: int) -> float:
    """Seconds that pika alone takes to take ``count`` messages, a prefetch of ``WINDOW``, each acknowledged."""

    def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if method.delivery_tag == count:
            channel.connection.close()

    def ready(channel: Any) -> None:
        channel.basic_qos(prefetch_count=WINDOW, callback=lambda _: channel.basic_consume("plain", take))

    return run_plainly(url, ready)


def prepare(node: Node) -> None:
    """Empty queues at both ends."""
    for url in (LOCAL, node.url):
        with connect(url) as connection:
            for queue in ("up", "down", "plain"):
                connection.channel().queue_delete(queue)
                connection.channel().queue_declare(queue, durable=True)


def waiting(url: str, queue: str) -> int:
    """Messages in the queue."""
    with connect(url) as connection:
        return int(connection.channel().queue_declare(queue, durable=True, passive=True).method.message_count)


def speed(node: Node, directory: Path, count: int) -> bool:
    """Each way, a link and pika alone in turns."""
    right = True
    for way, source, goal in (("up", LOCAL, node.url), ("down", node.url, LOCAL)):
        ratios = []
        for _ in range(ROUNDS):
            prepare(node)
            seconds = publish_plainly(node.url, count)
            if way == "down":
                seconds = consume_plainly(node.url, count)
            alone = count / seconds
            publish(source, way, [b"x" * 1024] * count)
            rate = link_rate(directory, node, goal, way, count)
            ratios.append(rate / alone)
            print(f"{way}: link {rate:,.0f}/s, pika alone {alone:,.0f}/s: {100 * rate / alone:.0f} %", flush=True)
        middle = statistics.median(ratios)
        print(f"{way}: {100 * middle:.0f} % in the middle of {ROUNDS}")
        # Down, pika alone keeps nothing; the link stores each message here before it acknowledges: not held to it.
        right = right and (way == "down" or middle >= 0.8)
    return right


def link_rate(directory: Path, node: Node, goal: str, way: str, count: int) -> float:
    """Messages a second through the link ``way``, from the first to the last that arrives at ``goal``."""
    running = Running(directory, ROUTES.replace("window = 50", f"window = {WINDOW}"), CENTRAL_URL=node.url)
    with connect(goal) as connection:
        channel = connection.channel()

        def there() -> int:
            return int(channel.queue_declare(way, durable=True, passive=True).method.message_count)

        running.start()
        while not (first := there()):
            time.sleep(0.005)
        start = time.perf_counter()
        while (last := there()) < count:
            time.sleep(0.02)
        rate = (last - first) / (time.perf_counter() - start)
    running.close()
    return rate


def trickle(bodies: list[bytes]) -> None:
    """Publish here, over two seconds, so that some come before a stop, some while, and some after."""
    for at in range(0, len(bodies), max(len(bodies) // 20, 1)):
        publish(LOCAL, "up", bodies[at : at + max(len(bodies) // 20, 1)])
        time.sleep(0.1)


def storm(node: Node, directory: Path, count: int, stops: int) -> bool:
    """``stops`` stops while ``count`` messages go each way, a share of them before each stop."""
    prepare(node)
    node.remember()
    running = Running(directory, ROUTES, CENTRAL_URL=node.url)
    running.start()
    shares = [range(count * i // stops, count * (i + 1) // stops) for i in range(stops)]
    for i, share in enumerate(shares):
        bodies = [b"%07d" % number for number in share]
        producer = threading.Thread(target=trickle, args=(bodies,))
        producer.start()
        publish(node.url, "down", bodies)
        time.sleep(random.uniform(0, 1))
        way = random.choice(("stop", "kill"))
        getattr(node, way)()
        left = waiting(LOCAL, "up")
        producer.join()
        time.sleep(random.uniform(0, 0.5))
        node.start()
        print(f"{i + 1}: {way} while {left} waited here", flush=True)
    right = True
    for way, source, goal in (("up", LOCAL, node.url), ("down", node.url, LOCAL)):
        until = time.monotonic() + 300
        while (waiting(source, way) or running.status(way).get("in_hand", 1)) and time.monotonic() < until:
            time.sleep(0.5)
        found = drain(goal, way, count, 300)
        first = in_order(found)
        twice, silent = len(found) - len(first), len(unmarked(found))
        in_their_order = first == sorted(first)
        print(f"{way}: {count} sent, {count - len(first)} lost, {twice} twice, {silent} of them not marked", flush=True)
        print(f"{way}: {'in order' if in_their_order else 'NOT IN ORDER'}", flush=True)
        # Up, only what was in hand comes twice. Down, a killed RabbitMQ delivers again what it forgot.
        right = right and len(first) == count and not silent and in_their_order
        right = right and (way == "down" or twice <= 50 * (stops + 1))
    running.close()
    return right


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.links", description=__doc__)
    parser.add_argument("what", choices=("speed", "storm"))
    parser.add_argument("--messages", type=int, default=0, help="speed: 50000, storm: 200000")
    parser.add_argument("--stops", type=int, default=50)
    options = parser.parse_args()
    os.environ.setdefault("HAYPILE_JOURNAL_DIR", str(Path(os.environ.get("HAYPILE_DIR", "/tmp"), "journal")))
    node = Node()
    try:
        with tempfile.TemporaryDirectory() as directory:
            if options.what == "speed":
                return 0 if speed(node, Path(directory), options.messages or 50_000) else 1
            return 0 if storm(node, Path(directory), options.messages or 200_000, options.stops) else 1
    finally:
        node.close()


if __name__ == "__main__":
    sys.exit(main())

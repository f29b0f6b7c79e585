"""Figures of links. ``python -m tests.links speed`` and ``python -m tests.links storm``.

speed: how many messages of 1 KB a link moves a second to a RabbitMQ, beside pika with confirms and the same window.
storm: a RabbitMQ of our own is stopped or killed at random while messages go each way; then all are counted.
HAYPILE_DIR should name a fresh directory.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pika

from tests.links.links import LOCAL, Running, connect, publish
from tests.links.test_links import ROUTES
from tests.support.node import Node

WINDOW = 500


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

    def opened(connection: Any) -> None:
        connection.channel(
            on_open_callback=lambda channel: channel.confirm_delivery(
                lambda frame: confirmed(channel, frame.method), lambda _: send(channel)
            )
        )

    connection: Any = pika.SelectConnection(
        pika.URLParameters(url), on_open_callback=opened, on_close_callback=lambda one, _: one.ioloop.stop()
    )
    start = time.perf_counter()
    connection.ioloop.start()
    return time.perf_counter() - start


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
    """One run of each, in turns."""
    ratios = []
    for _ in range(3):
        prepare(node)
        alone = count / publish_plainly(node.url, count)
        publish(LOCAL, "up", [b"x" * 1024] * count)
        running = Running(directory, ROUTES.replace("window = 50", f"window = {WINDOW}"), CENTRAL_URL=node.url)
        running.start()
        while not (first := waiting(node.url, "up")):
            time.sleep(0.01)
        start = time.perf_counter()
        with connect(node.url) as connection:
            channel = connection.channel()
            while (there := channel.queue_declare("up", durable=True, passive=True).method.message_count) < count:
                time.sleep(0.01)
        rate = (there - first) / (time.perf_counter() - start)
        running.close()
        ratios.append(rate / alone)
        print(f"link {rate:,.0f}/s, pika alone {alone:,.0f}/s: {100 * rate / alone:.0f} %", flush=True)
    return bool(max(ratios) >= 0.8)


def storm(node: Node, directory: Path, count: int, stops: int) -> bool:
    """``stops`` stops while ``count`` messages go each way."""
    prepare(node)
    running = Running(directory, ROUTES, CENTRAL_URL=node.url)
    running.start()
    publish(node.url, "down", (b"%07d" % number for number in range(count)))
    producer = threading.Thread(target=publish, args=(LOCAL, "up", [b"%07d" % number for number in range(count)]))
    producer.start()
    for number in range(stops):
        time.sleep(random.uniform(0.2, 2))
        way = random.choice(("stop", "kill"))
        getattr(node, way)()
        time.sleep(random.uniform(0, 0.5))
        node.start()
        print(f"{number + 1}: {way}", flush=True)
    producer.join()
    right = True
    for url, other, queue in ((node.url, LOCAL, "up"), (LOCAL, node.url, "down")):
        until = time.monotonic() + 300
        while (waiting(other, queue) or running.status(queue).get("in_hand", 1)) and time.monotonic() < until:
            time.sleep(0.5)
        found: list[bytes] = []
        with connect(url) as connection:
            channel = connection.channel()
            for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=1):
                if method is None:
                    break
                found.append(body)
        lost = count - len(set(found))
        print(f"{queue}: {count} sent, {lost} lost, {len(found) - len(set(found))} twice", flush=True)
        right = right and not lost and len(found) - len(set(found)) <= 50 * (stops + 1)
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

"""Moving a queue to a RabbitMQ and back, while producers and consumers go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.links.links import LOCAL, connect, drain, publish, wait_for
from tests.support.node import Node

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]


def move(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``haypile move ARGUMENTS``."""
    command = [sys.executable, "-m", "haypile", "move", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_there_and_back(node: Node, state_directory: Path, tmp_path: Path) -> None:
    """Arguments, bindings, messages and their order."""
    arguments = {"x-max-priority": 4}
    sent = [b"%05d" % number for number in range(3000)]
    with connect(LOCAL) as connection:
        channel = connection.channel()
        channel.exchange_declare("shop", "topic", durable=True)
        channel.exchange_declare("all", "fanout", durable=True)
        channel.queue_declare("moving", durable=True, arguments=arguments)
        channel.queue_bind("moving", "shop", "orders.*")
        channel.exchange_bind("shop", "all")
        for body in sent:
            channel.basic_publish("shop", "orders.new", body, pika.BasicProperties(delivery_mode=2))
    done = move("moving", "--from", LOCAL, "--to", node.url)
    assert done.returncode == 0, done.stderr
    assert "3000 messages moved" in done.stdout and "guest" not in done.stdout
    with connect(node.url) as connection:
        channel = connection.channel()
        # The same arguments, else 406; the bindings, else it does not arrive.
        assert channel.queue_declare("moving", durable=True, arguments=arguments).method.message_count == 3000
        channel.confirm_delivery()
        channel.basic_publish("all", "orders.last", b"last", mandatory=True)
    with connect(LOCAL) as connection:
        channel = connection.channel()
        assert channel.queue_declare("moving", passive=True).method.message_count == 0
        channel.queue_delete("moving")
    (tmp_path / "there.json").write_text(node.control("export_definitions", "-"))
    refused = move("moving", "--from", node.url, "--to", LOCAL)
    assert refused.returncode == 1 and "--definitions" in refused.stderr
    done = move("moving", "--from", node.url, "--to", LOCAL, "--definitions", str(tmp_path / "there.json"))
    assert done.returncode == 0, done.stderr
    assert "3001 messages moved" in done.stdout
    with connect(LOCAL) as connection:
        channel = connection.channel()
        channel.queue_declare("moving", durable=True, arguments=arguments)
        found = []
        while (body := channel.basic_get("moving", auto_ack=True)[2]) is not None:
            found.append(body)
    assert found[:-1] == sent and found[-1] == b"last"
    with connect(node.url) as connection:
        channel = connection.channel()
        channel.queue_delete("moving")
        channel.exchange_delete("shop")
        channel.exchange_delete("all")


def test_while_producers_go_on(node: Node, state_directory: Path) -> None:
    """What is published meanwhile goes along or stays, and none is lost."""
    stop = threading.Event()
    published: list[bytes] = []

    def produce() -> None:
        with connect(LOCAL) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            while not stop.is_set():
                body = b"%06d" % len(published)
                channel.basic_publish("", "busy", body)
                published.append(body)
                connection.sleep(0.002)

    with connect(LOCAL) as connection:
        connection.channel().queue_declare("busy", durable=True)
    with connect(node.url) as connection:
        connection.channel().queue_delete("busy")
    producer = threading.Thread(target=produce)
    producer.start()
    try:
        command = [sys.executable, "-m", "haypile", "move", "busy", "--follow", "--from", LOCAL, "--to", node.url]
        moving = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        stop.wait(4)
        moving.terminate()
        output, _ = moving.communicate(timeout=20)
    finally:
        stop.set()
        producer.join()
    assert moving.returncode == 0 and "messages moved" in output
    there = [body for _, _, body in drain(node.url, "busy", 0)]
    here = [body for _, _, body in drain(LOCAL, "busy", 0)]
    assert sorted({*there, *here}) == published
    assert len(there) > 100
    assert len(there) + len(here) - len(published) <= 500


@pytest.mark.slow
def test_killed_in_the_middle_there_and_back(node: Node, state_directory: Path) -> None:
    """SIGKILL of each of several moves, while a producer and a consumer go on at each end: none is lost."""
    total, batch = 4000, 50
    got: list[tuple[Any, Any, bytes]] = []
    finished = threading.Event()

    def produce() -> None:
        for first in range(0, total, batch):
            publish(LOCAL, "restless", [b"%06d" % number for number in range(first, first + batch)])
            time.sleep(0.02)
        finished.set()

    def take_some(url: str, most: int) -> None:
        """A consumer that comes, takes a few and goes."""
        with connect(url) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=10)
            for _ in range(most):
                method, properties, body = channel.basic_get("restless")
                if method is None:
                    break
                got.append((method, properties, body))
                channel.basic_ack(method.delivery_tag)

    def killed_moves(source: str, goal: str, times: int) -> None:
        """Each is killed as soon as it has moved something; on a quick machine that may be all there was."""
        command = [sys.executable, "-m", "haypile", "move", "restless", "--follow", "--from", source, "--to", goal]
        for _ in range(times):
            before = count(goal)
            moving = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                wait_for(lambda before=before: begun(source, goal, before), "the move to begin", pause=0.001)  # type: ignore[misc]
            finally:
                moving.kill()
                moving.wait()
            for url in (source, goal):
                take_some(url, 20)

    def begun(source: str, goal: str, before: int) -> bool:
        return count(goal) > before or (finished.is_set() and not count(source))

    def count(url: str) -> int:
        with connect(url) as connection:
            return int(connection.channel().queue_declare("restless", durable=True).method.message_count)

    with connect(node.url) as connection:
        connection.channel().queue_delete("restless")
    assert count(LOCAL) == count(node.url) == 0
    producer = threading.Thread(target=produce)
    producer.start()
    killed_moves(LOCAL, node.url, 2)
    assert finished.wait(60)
    producer.join()
    killed_moves(node.url, LOCAL, 2)
    for source, goal in ((LOCAL, node.url), (node.url, LOCAL)):
        # The command that was killed is given once more, and ends by itself.
        done = move("restless", "--from", source, "--to", goal)
        assert done.returncode == 0, done.stderr
        assert count(source) == 0
    got += drain(LOCAL, "restless", 0)
    bodies = [body for _, _, body in got]
    assert sorted(set(bodies)) == [b"%06d" % number for number in range(total)]
    again = [body for body in set(bodies) if bodies.count(body) > 1]
    # What came back from a killed move is redelivered; what then moved on has the header.
    header = "x-haypile-redelivered"
    marked = {body for method, rest, body in got if method.redelivered or (rest.headers or {}).get(header)}
    assert set(again) <= marked and len(bodies) - total <= 4 * 500
    with connect(node.url) as connection:
        connection.channel().queue_delete("restless")

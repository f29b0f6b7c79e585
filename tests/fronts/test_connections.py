"""Several connections in one process: threads, tasks, fork, spawn, mixed transports; waking and idling."""

from __future__ import annotations

import ast
import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pika import exceptions

import haypile
from haypile.adapters.asyncio_connection import AsyncioConnection
from tests.fronts.test_loops import PROGRAMS, needs
from tests.support.vhosts import Vhost

LOOPS = [
    "blocking",
    "select",
    "asyncio",
    pytest.param("tornado", marks=needs("tornado")),
    pytest.param("gevent", marks=needs("gevent")),
    pytest.param("twisted", marks=needs("twisted")),
]


@pytest.mark.parametrize("loop", LOOPS)
def test_waking_and_idling(vhost: Vhost, loop: str) -> None:
    """A callback from another thread wakes a sleeping consumer, and a sleeping consumer costs nothing."""
    done = vhost.run(PROGRAMS / "sleeper.py", loop)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = ast.literal_eval(done.stdout)
    # pika's loops have timers of their own of a second and more: a callback that waited for one would show.
    assert sorted(facts["waits"])[len(facts["waits"]) // 2] < 0.05
    assert facts["idle_cpu"] < 0.05 * facts["idle"]
    # gevent resolves names of RabbitMQ's host in its threads.
    if vhost.transport != "amqp":
        assert facts["threads"] == facts["threads_before"]


def count(url: str, queue: str) -> int:
    """Messages in ``queue``."""
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        found: int = connection.channel().queue_declare(queue).method.message_count
    return found


def publish(url: str, queue: str, number: int) -> None:
    """By a connection of its own."""
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue)
        channel.confirm_delivery()
        for _ in range(number):
            channel.basic_publish("", queue, b"body")


def test_threads(vhost: Vhost) -> None:
    """Each with its own connection."""
    threads = [threading.Thread(target=publish, args=(vhost.url, "queue", 50)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(vhost.url, "queue") == 300


def child_uses_its_own(connection: haypile.BlockingConnection, url: str) -> None:
    """In a forked child."""
    if connection._impl.wire is not None:
        with pytest.raises(exceptions.AMQPError, match="belongs to the parent process"):
            connection.channel()
    publish(url, "queue", 10)


def test_fork(make_vhost: Callable[[str], Vhost]) -> None:
    """The parent's connection is not the child's, and stays what it was."""
    for transport in ("posix", "sysv"):
        vhost = make_vhost(transport)
        connection = haypile.BlockingConnection(haypile.URLParameters(vhost.url))
        channel = connection.channel()
        channel.queue_declare("queue")
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=child_uses_its_own, args=(connection, vhost.url)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
            child.close()
        assert channel.queue_declare("queue", passive=True).method.message_count == 20
        connection.close()


SPAWNING = """
import multiprocessing, os, pika


def publish(number):
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        connection.channel().basic_publish("", "queue", b"%d" % number)


if __name__ == "__main__":
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    channel = connection.channel()
    channel.queue_declare("queue")
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=publish, args=(number,)) for number in range(3)]
    for child in children:
        child.start()
    got = []
    for method, properties, body in channel.consume("queue", auto_ack=True):
        got.append(int(body))
        if len(got) == len(children):
            break
    for child in children:
        child.join()
    print(sorted(got), [child.exitcode for child in children])
    connection.close()
"""


def test_spawn(vhost: Vhost, tmp_path: Path) -> None:
    """Children that start anew find the same vhost."""
    program = tmp_path / "spawning.py"
    program.write_text(SPAWNING)
    done = vhost.run(program)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2] [0, 0, 0]\n"), done.stderr


@pytest.mark.rabbitmq
def test_mixed_transports(make_vhost: Callable[[str], Vhost]) -> None:
    """From one to the next, in one program, in one thread."""
    urls = [make_vhost(transport).url for transport in ("posix", "sysv", "amqp")]
    connections = [haypile.BlockingConnection(haypile.URLParameters(url)) for url in urls]
    channels = [connection.channel() for connection in connections]
    for channel in channels:
        channel.queue_declare("queue")
    channels[0].basic_publish("", "queue", b"0")
    for step in range(9):
        here, there = channels[step % 3], channels[(step + 1) % 3]
        body = None
        deadline = time.monotonic() + 10
        while body is None and time.monotonic() < deadline:
            body = here.basic_get("queue", auto_ack=True)[2]
        assert body == b"%d" % step
        there.basic_publish("", "queue", b"%d" % (step + 1))
    for connection in connections:
        connection.close()


def test_a_loop_for_each_thread(vhost: Vhost) -> None:
    """Two AsyncioConnections in each of three loops."""
    closed: list[int] = []

    async def connect(number: int) -> None:
        loop = asyncio.get_running_loop()
        opened, ended = loop.create_future(), loop.create_future()
        connection = AsyncioConnection(
            haypile.URLParameters(vhost.url),
            on_open_callback=opened.set_result,
            on_close_callback=lambda connection, error: ended.set_result(error),
        )
        await opened
        connection.close()
        await ended
        closed.append(number)

    async def main(number: int) -> None:
        await asyncio.gather(connect(number), connect(number))

    threads = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(closed) == [0, 0, 1, 1, 2, 2]

"""Several consumers of a POSIX lane sleep in turn: one of them is woken for each message."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingConnection

import haypile as pika
from haypile.lanes import limits

#: Seconds after which a message does not come any more.
LONG = 30.0
#: Consumes from "q", says "ready", and then each body it is given.
OTHER = """
import sys, haypile
channel = haypile.BlockingConnection(haypile.URLParameters(sys.argv[1])).channel()
channel.queue_declare("q")
channel.basic_consume("q", lambda c, m, p, body: print(body.decode(), flush=True), auto_ack=True)
print("ready", flush=True)
channel.start_consuming()
"""


class Taker:
    """A consumer in a thread of its own."""

    def __init__(self, url: str, name: str, taken: queue.Queue[str], prefetch: int = 0) -> None:
        self.ready = threading.Event()
        self.connection: Any = None
        self._thread = threading.Thread(target=self._run, args=(url, name, taken, prefetch))
        self._thread.start()
        assert self.ready.wait(LONG)

    def _run(self, url: str, name: str, taken: queue.Queue[str], prefetch: int) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = self.connection.channel()
        if prefetch:
            channel.basic_qos(prefetch_count=prefetch)
        channel.basic_consume("q", lambda *_: taken.put(name), auto_ack=not prefetch)
        self.channel = channel
        self.ready.set()
        channel.start_consuming()
        self.connection.close()

    def stop(self) -> None:
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@pytest.fixture
def taken() -> queue.Queue[str]:
    return queue.Queue()


@pytest.fixture
def take(posix: Any, taken: queue.Queue[str]) -> Iterator[Callable[..., Taker]]:
    made: list[Taker] = []

    def one(name: str, **options: int) -> Taker:
        made.append(Taker(posix.url, name, taken, **options))
        return made[-1]

    yield one
    for taker in made:
        taker.stop()


@pytest.fixture
def channel(connect: Callable[[], BlockingConnection]) -> Any:
    found = connect().channel()
    found.queue_declare("q")
    return found


def test_nobody_gets_all(channel: Any, take: Callable[..., Taker], taken: queue.Queue[str]) -> None:
    take("a")
    take("b")
    found: list[str] = []
    while min(found.count("a"), found.count("b")) < 5 and len(found) < 2000:
        # Time to fall asleep: without it the same two may go on and on.
        time.sleep(0.002)
        channel.basic_publish("", "q", b"x")
        found.append(taken.get(timeout=LONG))
    assert {"a", "b"} == set(found)


@pytest.mark.parametrize("sizes", [limits.SIZES, ((1, 16),)], ids=["lane", "smallest lane"])
def test_who_has_no_credit_is_not_woken(
    channel: Any,
    take: Callable[..., Taker],
    taken: queue.Queue[str],
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[tuple[int, int], ...],
) -> None:
    """Were it, the message would wait for somebody's look once a second, which there is none of here."""
    monkeypatch.setattr("haypile.broker.timer.TICK", 3600.0)
    # The smallest one holds a single token: there is no room for one that says that there is more.
    monkeypatch.setattr(limits, "SIZES", sizes)
    take("full", prefetch=1)
    channel.basic_publish("", "q", b"x")
    assert taken.get(timeout=LONG) == "full"
    take("free")
    for _ in range(20):
        channel.basic_publish("", "q", b"x")
        assert taken.get(timeout=LONG) == "free"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_message_whose_sleeper_does_not_come_is_taken_by_another(
    posix: Any, channel: Any, take: Callable[..., Taker], taken: queue.Queue[str], how: signal.Signals
) -> None:
    other = subprocess.Popen([sys.executable, "-c", OTHER, posix.url], stdout=subprocess.PIPE, env=dict(os.environ))
    try:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        take("a")
        other.send_signal(how)
        for _ in range(3):
            channel.basic_publish("", "q", b"x")
            assert taken.get(timeout=LONG) == "a"
    finally:
        other.kill()
        other.wait()
        other.stdout.close()  # type: ignore[union-attr]
        # Who comes gives back what a dead one held.
        with pika.BlockingConnection(pika.URLParameters(posix.url)) as connection:
            connection.channel().queue_declare("q")

"""Random bytes in the shared files of a vhost while programs use them: an exception of pika's at worst."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

import haypile
from haypile.testing.vhosts import remove_url
from tests.support.vhosts import Vhost

#: Times that a program is run while bytes fall; more with HAYPILE_STORM.
ROUNDS = 3 * int(os.environ.get("HAYPILE_STORM", "1"))
#: Seconds until a program that did not end hangs.
PATIENCE = 20.0

pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)

LARGEST = (1 << 64) - 1

PERSISTENT = pika.BasicProperties(delivery_mode=2)
SHORT_LIVED = pika.BasicProperties(expiration="5")


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Iterator[Vhost]:
    """Each kind of kernel queue. The vhost is removed: a queue keeps its lane where damage misled its last user."""
    made = make_vhost(request.param)
    yield made
    remove_url(made.url)


def connect(vhost: Vhost) -> Any:
    """A blocking connection."""
    return haypile.BlockingConnection(haypile.URLParameters(vhost.url + "?blocked_connection_timeout=3"))


def work(vhost: Vhost, seconds: float) -> None:
    """Publish, consume, poll, purge, wait, again and again."""
    end = time.monotonic() + seconds
    chance = random.Random(os.getpid())
    while time.monotonic() < end:
        connection = connect(vhost)
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.queue_declare("ttl", arguments={"x-message-ttl": 20})
        if chance.random() < 0.5:
            channel.confirm_delivery()
        taken = connection.channel()
        taken.basic_qos(prefetch_count=chance.choice([0, 1, 10]))
        taken.basic_consume("q", lambda ch, method, *_: ch.basic_ack(method.delivery_tag))
        for _ in range(30):
            body = bytes(chance.choice([10, 10, 5000, 20_000]))
            channel.basic_publish("", chance.choice(["q", "ttl"]), body, chance.choice([None, PERSISTENT, SHORT_LIVED]))
            if chance.random() < 0.2:
                connection.process_data_events(0.001)
        channel.basic_get("ttl", auto_ack=True)
        channel.queue_purge("q")
        connection.close()


def run(vhost: Vhost, seconds: float) -> Callable[[], tuple[int | None, str]]:
    """Start ``work`` in a child; what gives its exit status (None: it hangs) and what it complained of."""
    told = Path(os.environ["HAYPILE_DIR"]) / f"told-{time.monotonic_ns()}"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(vhost, seconds)
            status = 0
        except pika.exceptions.AMQPError as error:
            status = 0 if str(error) or isinstance(error, pika.exceptions.ConnectionBlockedTimeout) else 1
            told.write_text(repr(error))
        except BaseException:
            told.write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def end() -> tuple[int | None, str]:
        deadline = time.monotonic() + seconds + PATIENCE
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), told.read_text() if told.exists() else ""
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None, "hangs"

    return end


def throw(chance: random.Random, path: Path, seconds: float) -> int:
    """Random words into ``path`` for ``seconds``; how many."""
    try:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as page:
            words = memoryview(page).cast("Q")
            try:
                return _throw(chance, words, seconds)
            finally:
                words.release()
    except (FileNotFoundError, ValueError):
        return 0


def _throw(chance: random.Random, words: memoryview, seconds: float) -> int:
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        at = chance.randrange(min(len(words), chance.choice([16, 96, 2000, len(words)])))
        old = words[at]
        near = [old + 1 & LARGEST, old ^ 1 << chance.randrange(64)]
        words[at] = chance.choice([0, 1, 2, *near, 1 << 63, LARGEST, chance.getrandbits(32), chance.getrandbits(64)])
        count += 1
        time.sleep(0.0005)
    return count


@pytest.mark.slow
def test_the_gate_page(vhost: Vhost, state_directory: Path) -> None:
    """Any word of it."""
    chance = random.Random(5)
    thrown = 0
    wrong = []
    for _ in range(ROUNDS):
        connect(vhost).close()
        (page,) = state_directory.rglob("hay/gates")
        ends = [run(vhost, 0.6) for _ in range(2)]
        thrown += throw(chance, page, 0.6)
        for end in ends:
            status, told = end()
            if status != 0:
                wrong.append((status, told))
        remove_url(vhost.url)
    assert not wrong, f"{len(wrong)} of {2 * ROUNDS}: " + "\n".join(f"{status}: {told}" for status, told in wrong[:9])
    assert thrown > 100


@pytest.mark.slow
def test_landings_and_counts(vhost: Vhost, state_directory: Path) -> None:
    """Of sessions that live, and of those that died."""
    chance = random.Random(6)
    thrown = 0
    wrong = []
    connect(vhost).close()
    (sessions,) = state_directory.rglob("sessions")
    for _ in range(ROUNDS):
        ends = [run(vhost, 0.6) for _ in range(2)]
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            for kind in ("landing", "counts", "lock"):
                for path in sessions.glob(f"*.{kind}"):
                    thrown += throw(chance, path, 0.01)
            time.sleep(0.001)
        for end in ends:
            status, told = end()
            if status != 0:
                wrong.append((status, told))
    assert not wrong, f"{len(wrong)} of {2 * ROUNDS}: " + "\n".join(f"{status}: {told}" for status, told in wrong[:9])
    assert thrown > 100
    connect(vhost).close()

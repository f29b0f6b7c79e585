"""SIGSTOP is no death: a stopped process harms nobody, loses nothing, and goes on at SIGCONT."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import haypile
from tests.support.vhosts import Vhost

#: Seconds that a process is stopped: 3 every day, a minute with HAYPILE_STORM=20.
STOPPED = 3 * int(os.environ.get("HAYPILE_STORM", "1"))
PATIENCE = 20.0

pytestmark = pytest.mark.timeout(60 + 3 * STOPPED)


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """Each kind of kernel queue."""
    return make_vhost(request.param)


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Processes; those that are left are killed."""
    started: list[int] = []
    yield started
    for pid in started:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def connect(vhost: Vhost) -> Any:
    """A blocking connection."""
    return haypile.BlockingConnection(haypile.URLParameters(vhost.url))


def publish(vhost: Vhost, ledger: Path, first: int, count: int, stop_after: int = -1, pause: float = 0.0) -> None:
    """Confirmed messages; stops itself in the middle."""
    channel = connect(vhost).channel()
    channel.confirm_delivery()
    with open(ledger, "ab", buffering=0) as file:
        for number in range(first, first + count):
            channel.basic_publish("", "q", b"%d" % number)
            file.write(b"%d\n" % number)
            if number - first == stop_after:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(pause)
    channel.connection.close()


def consume(vhost: Vhost, ledger: Path, stop_after: int = -1) -> None:
    """Acknowledges each message; stops itself with some in hand. Ends by a message that says so."""
    connection = connect(vhost)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=5)
    got = 0
    with open(ledger, "ab", buffering=0) as file:
        for method, _, body in channel.consume("q"):
            if body == b"end":
                channel.basic_ack(method.delivery_tag)
                break
            if got == stop_after:
                os.kill(os.getpid(), signal.SIGSTOP)
            file.write(b"%s%s\n" % (body, b" again" if method.redelivered else b""))
            channel.basic_ack(method.delivery_tag)
            got += 1
    connection.close()


def start(children: list[int], work: Callable[..., None], *arguments: Any, **named: Any) -> int:
    """A child that does ``work``; its process."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(*arguments, **named)
            status = 0
        finally:
            os._exit(status)
    children.append(pid)
    return pid


def end(children: list[int], pid: int) -> int:
    """The exit status of a child."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    children.remove(pid)
    return status


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Whether ``condition`` holds before patience is over."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lines(path: Path) -> list[str]:
    """Whole lines of a ledger."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_a_stopped_publisher_and_a_stopped_consumer(vhost: Vhost, tmp_path: Path, children: list[int]) -> None:
    """Others publish and consume meanwhile; what the stopped one holds stays its own; nothing comes twice."""
    with connect(vhost) as connection:
        connection.channel().queue_declare("q")
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    stopped = [
        start(children, consume, vhost, slow, stop_after=7),
        start(children, publish, vhost, tmp_path / "stops", 0, 100, stop_after=40),
    ]
    for pid in stopped:
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    other = start(children, consume, vhost, quick)
    begun = time.monotonic()
    publisher = start(children, publish, vhost, tmp_path / "goes on", 1000, 200, pause=0.005)
    assert end(children, publisher) == 0
    # The stopped consumer has 5 in hand at most, of which the first is about to be noted.
    assert until(lambda: len(lines(slow)) + len(lines(quick)) >= 41 + 200 - 5)
    while time.monotonic() < begun + STOPPED:
        time.sleep(0.05)
    before = len(lines(slow)), len(lines(quick))
    time.sleep(0.3)
    assert (len(lines(slow)), len(lines(quick))) == before
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert end(children, stopped[1]) == 0
    expected = [str(number) for number in (*range(100), *range(1000, 1200))]
    assert until(lambda: len(lines(slow)) + len(lines(quick)) >= len(expected))
    finish(vhost)
    assert [end(children, pid) for pid in (stopped[0], other)] == [0, 0]
    assert sorted(lines(slow) + lines(quick), key=int) == expected


def finish(vhost: Vhost) -> None:
    """Have two consumers end."""
    with connect(vhost) as connection:
        channel = connection.channel()
        for _ in range(2):
            channel.basic_publish("", "q", b"end")


def test_stopped_at_any_instant(vhost: Vhost, tmp_path: Path, children: list[int]) -> None:
    """With the store's lock in its hand or not: after SIGCONT all goes on, nothing is lost or comes twice."""
    chance = random.Random(11)
    with connect(vhost) as connection:
        connection.channel().queue_declare("q")
    count = 1500
    workers = [start(children, consume, vhost, tmp_path / name) for name in ("one", "two")]
    workers += [start(children, publish, vhost, tmp_path / f"p{first}", first, count) for first in (0, count)]
    stops = 0
    with connect(vhost) as connection:
        # Looks for dead sessions all the time.
        while len(lines(tmp_path / "one")) + len(lines(tmp_path / "two")) < 2 * count:
            pid = chance.choice(workers)
            # One that has ended waits to be reaped: signals do nothing to it.
            os.kill(pid, signal.SIGSTOP)
            stops += 1
            time.sleep(chance.uniform(0.001, 0.05))
            os.kill(pid, signal.SIGCONT)
            connection.process_data_events(0)
            time.sleep(0.002)
    finish(vhost)
    assert [end(children, pid) for pid in workers] == [0] * 4
    got = lines(tmp_path / "one") + lines(tmp_path / "two")
    assert sorted(got, key=lambda line: int(line.split()[0])) == [str(number) for number in range(2 * count)]
    assert stops > 3


def test_stopped_with_the_lock_of_the_store(vhost: Vhost, tmp_path: Path, children: list[int]) -> None:
    """Others that need the store wait for as long, and go on at SIGCONT; nobody is taken for dead."""
    with connect(vhost) as connection:
        connection.channel().queue_declare("q")
        connection.channel().basic_publish("", "q", b"0")

    def hold() -> None:
        from haypile.hay.writing import Writing

        connection = connect(vhost)
        channel = connection.channel()
        method, _, body = channel.basic_get("q")
        assert body == b"0"
        real = Writing.__exit__

        def stops(*arguments: Any) -> Any:
            Writing.__exit__ = real  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGSTOP)
            return real(*arguments)

        Writing.__exit__ = stops  # type: ignore[method-assign]
        channel.basic_publish("", "q", bytes(20_000))
        channel.basic_ack(method.delivery_tag)
        connection.close()

    holder = start(children, hold)
    assert os.WIFSTOPPED(os.waitpid(holder, os.WUNTRACED)[1])
    other = start(children, publish, vhost, tmp_path / "other", 1, 5)
    time.sleep(1)
    assert os.waitpid(other, os.WNOHANG) == (0, 0) and not lines(tmp_path / "other")
    os.kill(holder, signal.SIGCONT)
    assert [end(children, pid) for pid in (holder, other)] == [0, 0]
    with connect(vhost) as connection:
        channel = connection.channel()
        got = [channel.basic_get("q", auto_ack=True) for _ in range(6)]
        assert all(method is not None and not method.redelivered for method, _, _ in got)
        assert sorted(len(body) for _, _, body in got) == [1, 1, 1, 1, 1, 20_000]
        assert channel.basic_get("q")[0] is None

"""The directory of a vhost is deleted under programs that publish, consume, poll or wait."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

import haypile
from haypile.hay.errors import UnusableDirectory
from tests.support import leaks
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import Vhost

#: Seconds until everybody has noticed: sessions look about once a second.
PATIENCE = 20.0


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """Each kind of kernel queue."""
    return make_vhost(request.param)


def connect(vhost: Vhost) -> Any:
    """A blocking connection."""
    return haypile.BlockingConnection(haypile.URLParameters(vhost.url))


Work = Callable[[Vhost, Callable[[], None]], None]


def publishes_with_confirms(vhost: Vhost, went: Callable[[], None]) -> None:
    channel = connect(vhost).channel()
    channel.confirm_delivery()
    while True:
        channel.basic_publish("", "q", bytes(100), pika.BasicProperties(delivery_mode=2))
        went()


def publishes_blindly(vhost: Vhost, went: Callable[[], None]) -> None:
    """What does not fit a lane; its loop never turns."""
    channel = connect(vhost).channel()
    while True:
        channel.basic_publish("", "unread", bytes(9000))
        went()
        time.sleep(0.001)


def consumes(vhost: Vhost, went: Callable[[], None]) -> None:
    connection = connect(vhost)
    channel = connection.channel()

    def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        ch.basic_ack(method.delivery_tag)
        went()

    channel.basic_consume("q", take)
    channel.start_consuming()


def polls(vhost: Vhost, went: Callable[[], None]) -> None:
    connection = connect(vhost)
    channel = connection.channel()
    while True:
        channel.basic_get("q", auto_ack=True)
        went()
        connection.sleep(0.01)


def waits(vhost: Vhost, went: Callable[[], None]) -> None:
    connection = connect(vhost)
    connection.channel().basic_consume("quiet", lambda *_: None)
    while True:
        connection.process_data_events(0.1)
        went()


PROGRAMS: tuple[Work, ...] = (publishes_with_confirms, publishes_blindly, consumes, polls, waits)


def start(work: Work, vhost: Vhost, place: Path) -> int:
    """Run ``work`` in a child that notes that it runs, and how it ended; its process."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        running = place / f"{work.__name__}.runs"
        work(vhost, lambda: None if running.exists() else running.touch())
    except pika.exceptions.AMQPError as error:
        (place / f"{work.__name__}.ended").write_text(f"{type(error).__name__} {error}")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@pytest.fixture
def children() -> Iterator[dict[int, Work]]:
    """Processes by number; those that are left are killed."""
    started: dict[int, Work] = {}
    yield started
    for pid in started:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def until(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` holds before patience is over."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_state_directory_removed_under_programs(
    vhost: Vhost, state_directory: Path, tmp_path: Path, children: dict[int, Work]
) -> None:
    """Each ends with an exception that says so; whoever comes anew has a new vhost; no kernel queue is left."""
    queues = KernelQueues()
    before = leaks.sysv_queues(), queues.names() or frozenset()
    with connect(vhost) as connection:
        for name in ("q", "quiet", "unread"):
            connection.channel().queue_declare(name)
    ours = connect(vhost)
    for work in PROGRAMS:
        children[start(work, vhost, tmp_path)] = work
    assert until(lambda: len(list(tmp_path.glob("*.runs"))) == len(PROGRAMS))
    assert list(state_directory.rglob("lanes/*"))
    shutil.rmtree(state_directory / vhost.transport)

    with connect(vhost) as connection:
        # This process has a connection to the old one open.
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'q'"):
            connection.channel().queue_declare("q", passive=True)
        channel = connection.channel()
        channel.queue_declare("q2")
        channel.basic_publish("", "q2", b"new")
        assert channel.basic_get("q2", auto_ack=True)[2] == b"new"
    statuses: dict[str, int] = {}

    def reap() -> bool:
        for pid, work in list(children.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del children[pid]
                statuses[work.__name__] = os.waitstatus_to_exitcode(status)
        return not children

    assert until(reap), f"still run: {[work.__name__ for work in children.values()]}"
    assert statuses == {work.__name__: 0 for work in PROGRAMS}
    for work in PROGRAMS:
        text = (tmp_path / f"{work.__name__}.ended").read_text()
        assert "was removed while it was in use" in text and "connect again" in text, f"{work.__name__}: {text}"
    with pytest.raises(pika.exceptions.AMQPError, match="was removed while it was in use"):
        ours.process_data_events(5)
    connect(vhost).close()
    assert leaks.sysv_queues() - before[0] == set()
    assert {name for name in (queues.names() or frozenset()) - before[1] if "haypile" in name} == set()
    queues.close()


def test_a_directory_that_is_being_removed(vhost: Vhost, state_directory: Path) -> None:
    """The sessions' files went first, those by which a removal is noticed are still there: the same words."""
    connection = connect(vhost)
    connection.channel().queue_declare("q")
    session: Any = connection._impl.wire.session
    (sessions,) = state_directory.glob(f"{vhost.transport}/*/sessions")
    moved = sessions.rename(sessions.with_name("moved"))
    with pytest.raises(UnusableDirectory, match="was removed while it was in use"):
        assert session.holdings.landing
    moved.rename(sessions)
    assert session.holdings.landing
    connection.close()

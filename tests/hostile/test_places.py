"""Bytes of any kind in a lane; lanes and directories removed under us; forks, signals, clocks, threads."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import posix_ipc
import pytest
import sysv_ipc

import haypile
from tests.support.vhosts import Vhost


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, make_vhost: Callable[[str], Vhost]) -> Vhost:
    """Each kind of kernel queue."""
    return make_vhost(request.param)


def connect(vhost: Vhost) -> haypile.BlockingConnection:
    """A blocking connection."""
    return haypile.BlockingConnection(haypile.URLParameters(vhost.url))


@pytest.fixture
def connection(vhost: Vhost) -> Iterator[haypile.BlockingConnection]:
    """An open one, closed afterwards if it still is."""
    opened = connect(vhost)
    yield opened
    if opened.is_open:
        opened.close()


def lane_names(state: Path) -> list[str]:
    """Labels of the lanes of every store below ``state``."""
    return [path.name for path in state.rglob("lanes/*")]


def send_raw(vhost: Vhost, label: str, data: bytes) -> bool:
    """Put bytes of a stranger into a lane; False when it is full."""
    try:
        if vhost.transport == "posix":
            queue = posix_ipc.MessageQueue("/" + label)
            try:
                queue.send(data, timeout=0)
            finally:
                queue.close()
        else:
            queue = sysv_ipc.MessageQueue(int(label), 0, 0o600, 8192)
            queue.send(data, False, random.randrange(1, 1 << 30))
    except (posix_ipc.BusyError, sysv_ipc.BusyError):
        return False
    return True


def remove_lane(vhost: Vhost, label: str) -> None:
    """What ``mq_unlink`` or ``ipcrm`` of a stranger does."""
    if vhost.transport == "posix":
        posix_ipc.unlink_message_queue("/" + label)
    else:
        sysv_ipc.MessageQueue(int(label), 0, 0o600, 8192).remove()


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("auto_ack", [True, False])
def test_bytes_of_any_kind_in_a_lane(
    vhost: Vhost, connection: Any, state_directory: Path, auto_ack: bool
) -> None:
    """They are put aside; messages around them arrive, once, in order."""
    chance = random.Random(7)
    channel = connection.channel()
    channel.queue_declare("q")
    got: list[bytes] = []

    def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        if not auto_ack:
            ch.basic_ack(method.delivery_tag)

    channel.basic_consume("q", take, auto_ack=auto_ack)
    (label,) = lane_names(state_directory)
    strange = 0
    with connect(vhost) as other:
        publishing = other.channel()
        for number in range(60):
            publishing.basic_publish("", "q", b"%d" % number)
            data = chance.choice([chance.randbytes(chance.randrange(1, 400)), bytes(40), b"\xff" * 8192, b"x"])
            strange += send_raw(vhost, label, data)
            connection.process_data_events(0)
    deadline = time.monotonic() + 20
    while len(got) < 60 and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert got == [b"%d" % number for number in range(60)]
    assert strange > 10
    aside = [path for path in state_directory.rglob("aside/*") if path.is_file()]
    # All-zero bytes of a landing's slot look like a token, and are taken for one.
    assert len(aside) > strange // 3
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in aside)


@pytest.mark.parametrize("auto_ack", [True, False])
def test_bytes_of_any_kind_among_messages_taken_together(
    vhost: Vhost, connection: Any, state_directory: Path, auto_ack: bool
) -> None:
    """They use up no delivery tag, and no slot of the landing."""
    channel = connection.channel()
    channel.queue_declare("q")
    got: list[tuple[int, bytes]] = []
    channel.basic_consume("q", lambda _, m, __, body: got.append((m.delivery_tag, body)), auto_ack=auto_ack)
    connection.process_data_events(0)
    (label,) = lane_names(state_directory)
    with connect(vhost) as other:
        publishing = other.channel()
        for number in range(4):
            publishing.basic_publish("", "q", b"%d" % number)
            assert send_raw(vhost, label, b"x" * (20 * number + 1))
        connection.process_data_events(0.2)
    deadline = time.monotonic() + 20
    while len(got) < 4 and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    assert got == [(number + 1, b"%d" % number) for number in range(4)]
    if not auto_ack:
        channel.basic_ack(4, multiple=True)
        holdings = connection._impl.wire.session.holdings
        assert holdings.slots == {} and holdings.landing.occupied() == []


@pytest.mark.parametrize("auto_ack", [True, False])
def test_a_lane_removed_while_publishing_and_consuming(
    vhost: Vhost, connection: Any, state_directory: Path, auto_ack: bool
) -> None:
    """What was in it is gone with it; everything published afterwards arrives, and nobody crashes."""
    channel = connection.channel()
    channel.queue_declare("q")
    got: list[int] = []

    def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(int(body))
        if not auto_ack:
            ch.basic_ack(method.delivery_tag)

    channel.basic_consume("q", take, auto_ack=auto_ack)
    with connect(vhost) as other:
        publishing = other.channel()
        for number in range(300):
            publishing.basic_publish("", "q", b"%d" % number)
            if number == 100:
                for label in lane_names(state_directory):
                    remove_lane(vhost, label)
            connection.process_data_events(0)
        deadline = time.monotonic() + 20
        while (not got or got[-1] != 299) and time.monotonic() < deadline:
            connection.process_data_events(0.1)
    assert got == sorted(set(got))
    assert got[-1] == 299 and len(got) >= 180


def test_children_that_inherit_a_connection(vhost: Vhost, connection: Any) -> None:
    """A child that uses, drops or closes its parent's connection, or exits with it, does not harm the parent."""
    channel = connection.channel()
    channel.queue_declare("q")
    got: list[bytes] = []

    def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(body)
        ch.basic_ack(method.delivery_tag)

    channel.basic_consume("q", take)
    holder = [connection, channel]

    def use() -> None:
        with pytest.raises(pika.exceptions.AMQPError, match="belongs to the parent process"):
            channel.basic_publish("", "q", b"child")

    def close() -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()

    def drop() -> None:
        import gc

        holder.clear()
        gc.collect()

    def leave() -> None:
        os._exit(0)

    def own() -> None:
        with connect(vhost) as mine:
            mine.channel().basic_publish("", "q", b"from the child's own")

    for number, work in enumerate((use, close, drop, leave, own)):
        assert in_child(work) == 0, work
        channel.basic_publish("", "q", b"%d" % number)
        deadline = time.monotonic() + 10
        while b"%d" % number not in got and time.monotonic() < deadline:
            connection.process_data_events(0.1)
    assert sorted(got) == sorted([b"0", b"1", b"2", b"3", b"4", b"from the child's own"])


class Alarm(Exception):
    """What the signal handler raises."""


def signals_at_any_time(vhost: Vhost, state_directory: Path) -> None:
    """A handler that raises anywhere: confirmed messages are there, and the next connection works."""
    chance = random.Random(3)
    confirmed: list[int] = []

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        number = 0
        for _ in range(60):
            try:
                connection = connect(vhost)
                channel = connection.channel()
                channel.queue_declare("q")
                channel.confirm_delivery()
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.02))
                while True:
                    channel.basic_publish("", "q", b"%d" % number)
                    confirmed.append(number)
                    number += 1
            except Alarm:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            number += 1
            del connection, channel
    finally:
        signal.signal(signal.SIGALRM, before)
    import gc

    gc.collect()
    with connect(vhost) as connection:
        channel = connection.channel()
        got = []
        while (body := channel.basic_get("q", auto_ack=True)[2]) is not None:
            got.append(int(body))
    assert got == sorted(set(got))
    assert set(confirmed) <= set(got) and len(confirmed) > 100


def test_signals_that_interrupt_system_calls(vhost: Vhost, connection: Any) -> None:
    """EINTR all the time: nothing is lost, nothing raised."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        channel = connection.channel()
        channel.queue_declare("q")
        got: list[bytes] = []
        channel.basic_consume("q", lambda c, m, p, body: got.append(body), auto_ack=True)
        for number in range(2000):
            channel.basic_publish("", "q", b"%d" % number)
            if number % 50 == 0:
                connection.process_data_events(0.001)
        while len(got) < 2000:
            connection.process_data_events(0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert got == [b"%d" % number for number in range(2000)]
    assert len(rung) > 10


def test_a_wall_clock_that_jumps(vhost: Vhost, connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, expiry and deadlines follow the monotonic clock."""
    channel = connection.channel()
    channel.queue_declare("q")
    real = time.time
    for number, jump in enumerate((0, 1e6, -1e6, 3e8, -3e8, 0)):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: int((real() + jump) * 1e9))
        channel.basic_publish("", "q", b"%d" % number, pika.BasicProperties(expiration="60000"))
    got = []
    while (body := channel.basic_get("q", auto_ack=True)[2]) is not None:
        got.append(body)
    assert got == [b"0", b"1", b"2", b"3", b"4", b"5"]


def threads_that_misuse_a_connection(vhost: Vhost, state_directory: Path) -> None:
    """pika's connections belong to one thread. Who does not heed that gets pika's exceptions; the vhost stays whole."""
    strange: list[BaseException] = []
    connection = connect(vhost)
    channel = connection.channel()
    channel.queue_declare("q")

    def publish() -> None:
        try:
            for number in range(300):
                channel.basic_publish("", "q", b"%d" % number)
                if number % 20 == 0:
                    connection.process_data_events(0)
        except pika.exceptions.AMQPError:
            pass
        except BaseException as error:
            strange.append(error)

    threads = [threading.Thread(target=publish, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    with contextlib.suppress(pika.exceptions.AMQPError):
        connection.close()
    with connect(vhost) as again:
        after = again.channel()
        count = after.queue_declare("q", passive=True).method.message_count
        bodies = [after.basic_get("q", auto_ack=True)[2] for _ in range(count)]
        assert None not in bodies
    assert not strange, strange


@pytest.mark.parametrize("work", [signals_at_any_time, threads_that_misuse_a_connection])
def test_in_a_process_of_its_own(
    vhost: Vhost, state_directory: Path, work: Callable[[Vhost, Path], None]
) -> None:
    """What leaves connections behind that nobody closed is done by a child."""
    assert in_child(lambda: work(vhost, state_directory)) == 0
    connect(vhost).close()

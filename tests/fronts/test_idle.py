"""Connections that were asked for nothing yet: what they cost, and what they do all the same."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import haypile
from haypile.broker import rows
from haypile.broker.holdings import ROW
from haypile.broker.idle import LANE, LIMITS, NO_BATCH, IdleSession, encode_info
from haypile.broker.session import Session
from haypile.lanes.support import check_support
from tests.fronts.test_loops import PROGRAMS
from tests.support.vhosts import Vhost

#: Of the standard library: each imports much, or takes long.
NEEDLESS = {
    *("bz2", "ctypes", "dataclasses", "hashlib", "json", "lzma", "multiprocessing", "random", "resource"),
    *("secrets", "shutil", "tempfile"),
}
#: Of ours: what only a connection needs that does something.
OURS = {
    *("session", "topology", "rows", "policies", "arguments", "exchanges", "publisher", "source", "holdings"),
    *("handlers", "journaling", "recovery", "ruling", "declare", "message"),
}
#: Seconds that are more than enough for a look around.
LONG = 20.0


@pytest.fixture
def vhost(make_vhost: Callable[[str], Vhost]) -> Vhost:
    """One of this host: a RabbitMQ imports nothing here."""
    return make_vhost("posix")


def imported(vhost: Vhost, front: str) -> list[set[str]]:
    """Modules that ``programs/idle.py`` has at its stages."""
    done = vhost.run(PROGRAMS / "idle.py", front)
    assert done.returncode == 0, done.stderr
    return [set(stage) for stage in ast.literal_eval(done.stdout)]


def of_broker(modules: set[str]) -> set[str]:
    return {name.split(".")[2] for name in modules if name.startswith("haypile.broker.")}


def test_an_idle_connection_imports_little(vhost: Vhost) -> None:
    """Beside a channel: neither two thirds of the broker, nor what is large of the standard library."""
    code = "import sys, pika; print(sorted(sys.modules))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    idle, working = imported(vhost, "blocking")
    assert not (idle - set(ast.literal_eval(plain.stdout))) & NEEDLESS
    assert not of_broker(idle) & OURS
    assert {"haypile.hay.journal", "haypile.lanes.posix", "haypile.lanes.landing"} & idle == set()
    # The names are right, and the first method has them imported.
    assert of_broker(working) >= OURS


def test_a_loop_has_all_imported_when_its_connection_opens(vhost: Vhost) -> None:
    """Else its first method would hold up all that the loop does."""
    (idle,) = imported(vhost, "asyncio")
    assert of_broker(idle) >= OURS


def session_of(connection: Any) -> IdleSession:
    session: IdleSession = connection._impl.wire.session
    return session


def look_until(connection: Any, reached: Callable[[], bool]) -> None:
    """Turn the connection's loop until something is so."""
    deadline = time.monotonic() + LONG
    while not reached():
        assert time.monotonic() < deadline
        connection.process_data_events(0.05)


def test_it_becomes_a_whole_session_with_its_first_method(vhost: Vhost) -> None:
    """The same one: same number, same channels."""
    with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as connection:
        first, second = connection.channel(), connection.channel()
        first.close()
        session = session_of(connection)
        number = session.id
        assert not isinstance(session, Session)
        second.queue_declare("q")
        assert session_of(connection) is session
        assert isinstance(session, Session)
        assert session.id == number
        assert set(session.channels) == {second.channel_number}
        assert connection.channel().basic_get("q") == (None, None, None)
        second.queue_delete("q")


CONSUMER = """
import sys, haypile
connection = haypile.BlockingConnection(haypile.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.queue_declare("q")
channel.basic_publish("", "q", b"held")
print(channel.basic_get("q")[2], flush=True)
sys.stdin.read()
"""


def test_it_puts_back_what_a_dead_process_held(vhost: Vhost) -> None:
    """No other connection opens meanwhile, which would do the same."""
    with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as connection:
        channel = connection.channel()
        session = session_of(connection)
        hay = session.vhost.hay
        command = [sys.executable, "-c", CONSUMER, vhost.url]
        with subprocess.Popen(
            command, env=vhost.process_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"b'held'\n"
            os.kill(process.pid, signal.SIGKILL)

        def alone() -> bool:
            with hay.read() as reading:
                return reading.session_ids() == [session.id]

        look_until(connection, alone)
        method, _, body = channel.basic_get("q", auto_ack=True)
        assert method is not None
        assert (body, method.redelivered) == (b"held", True)
        channel.queue_delete("q")


def test_it_sees_to_what_is_due_when_nobody_else_does(vhost: Vhost) -> None:
    """A queue that is to expire, of a connection that has gone."""
    with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as connection:
        session = session_of(connection)
        with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as other:
            other.channel().queue_declare("q", arguments={"x-expires": 500})
        hay = session.vhost.hay

        def gone() -> bool:
            with hay.read() as reading:
                return reading.row(rows.QUEUE + b"q") is None

        look_until(connection, gone)


def test_it_removes_lanes_that_nobody_has(vhost: Vhost) -> None:
    """Somebody was killed after announcing one; the lane of a living consumer stays."""
    with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_consume("q", lambda *_: None)
        announced = session_of(connection).vhost.announced
        (living,) = announced.labels()
        haypile.BlockingConnection(haypile.URLParameters(vhost.url)).close()
        announced.announce("haypile-nobodys")
        haypile.BlockingConnection(haypile.URLParameters(vhost.url)).close()
        assert announced.labels() == {living}
        channel.queue_delete("q")


def test_its_row_and_its_keys_are_those_of_whole_sessions() -> None:
    """Written down twice, because their modules import much."""
    assert (rows.LIMITS, rows.LANE) == (LIMITS, LANE)
    assert ROW.pack(0) == NO_BATCH
    for info in ({"pid": 7, "user": "guest"}, {"user": 'a "b" \\ c'}, {"user": "möwe\n"}, {"x": None, "y": True}, {}):
        assert encode_info(info) == json.dumps(info).encode()


def test_kinds_of_kernel_queues_are_looked_for_before_they_are_used() -> None:
    """The module of the kind, and nothing of lanes."""
    check_support("posix")
    with pytest.raises(ImportError):
        check_support("nothing")

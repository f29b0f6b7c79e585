"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import leaks, rabbitmq
from tests.support.keeper import server_command
from tests.support.kernel_queues import KernelQueues

pytest_plugins = ["pytester"]

#: What a user would write; the same over every transport.
SUITE = '''
import subprocess, sys, threading
import pika, pytest
from pika import BlockingConnection as Before

PARAMETERS = pika.ConnectionParameters("localhost")
CHILD = """
import pika
channel = pika.BlockingConnection(pika.ConnectionParameters("localhost")).channel()
channel.queue_declare("jobs")
channel.basic_publish("", "jobs", b"from a child")
channel.connection.close()
"""

def test_existing_imports_go_there(pika_over_haypile, haypile_vhost):
    assert pika_over_haypile is pika
    for kind in (Before, pika.BlockingConnection):
        with kind(PARAMETERS) as connection:
            channel = connection.channel()
            channel.queue_declare("jobs")
            channel.basic_publish("", "jobs", b"one", pika.BasicProperties(type="x"))
    first, second = haypile_vhost.assert_published("jobs", b"one", "one")
    assert first.properties.type == "x" and first.routing_key == "jobs"
    haypile_vhost.assert_published("jobs", b"one", b"one")

def test_every_vhost_is_fresh(haypile_vhost):
    with pytest.raises(KeyError, match="no queue 'jobs'"):
        haypile_vhost.messages("jobs")

def test_children(pika_over_haypile, haypile_vhost):
    subprocess.run([sys.executable, "-c", CHILD], check=True)
    haypile_vhost.assert_published("jobs", b"from a child")

def test_tap(pika_over_haypile, haypile_vhost):
    with pika.BlockingConnection(PARAMETERS) as connection:
        channel = connection.channel()
        channel.exchange_declare("logs", "topic")
        tap = haypile_vhost.tap("logs")
        haypile_vhost.assert_nothing_published(tap)
        channel.basic_publish("logs", "a.b", b"1")
        channel.basic_publish("logs", "c", b"2")
        assert [one.routing_key for one in haypile_vhost.assert_published(tap, b"1", b"2")] == ["a.b", "c"]
        with pytest.raises(AssertionError, match="expected .*b'3'"):
            haypile_vhost.assert_published(tap, b"1", b"3", timeout=0)

def test_drains(pika_over_haypile, haypile_vhost):
    def work():
        with pika.BlockingConnection(PARAMETERS) as connection:
            channel = connection.channel()
            for method, _, _ in channel.consume("jobs", inactivity_timeout=2):
                if method is None:
                    return
                connection.sleep(0.05)
                channel.basic_ack(method.delivery_tag)
    with pika.BlockingConnection(PARAMETERS) as connection:
        channel = connection.channel()
        channel.queue_declare("jobs")
        for number in range(5):
            channel.basic_publish("", "jobs", str(number))
        with pytest.raises(TimeoutError, match="5 messages ready, 0 unacknowledged"):
            haypile_vhost.wait_until_empty("jobs", timeout=0.1)
        worker = threading.Thread(target=work)
        worker.start()
        haypile_vhost.wait_until_empty("jobs")
        worker.join()

def test_time(pika_over_haypile, haypile_vhost):
    local = haypile_vhost.transport != "amqp"
    hour = 3600 if local else 0.5
    with pika.BlockingConnection(PARAMETERS) as connection:
        channel = connection.channel()
        channel.exchange_declare("dead", "fanout")
        channel.queue_declare("jobs", arguments={"x-message-ttl": int(hour * 1000), "x-dead-letter-exchange": "dead"})
        dead = haypile_vhost.tap("dead")
        haypile_vhost.freeze()
        channel.basic_publish("", "jobs", b"old")
        haypile_vhost.advance(hour * 0.4)
        haypile_vhost.assert_published("jobs", b"old")
        haypile_vhost.advance(hour * 0.7)
        haypile_vhost.assert_published(dead, b"old")
        haypile_vhost.assert_nothing_published("jobs")
        haypile_vhost.thaw()
        channel.queue_declare("brief", arguments={"x-expires": 200})
        haypile_vhost.advance(0.4)
        with pytest.raises(KeyError):
            haypile_vhost.messages("brief")
'''


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run a suite in a pytest of its own, with the plugin."""

    def run_with(suite: str, *arguments: str) -> pytest.RunResult:
        path = pytester.makepyfile(test_suite=suite)
        return pytester.runpytest_subprocess("-p", "pytest_haypile", "-p", "no:cacheprovider", *arguments, path)

    return run_with


@pytest.fixture
def nothing_left(_kernel_queues: KernelQueues) -> Iterator[Callable[[], list[str]]]:
    """What is there now and was not there before."""
    before = _left(_kernel_queues)

    def left() -> list[str]:
        return sorted(_left(_kernel_queues) - before)

    yield left
    assert leaks.wait_until_gone(left) == []


def _left(queues: KernelQueues) -> set[str]:
    directories = {str(path) for path in Path("/dev/shm").glob("haypile-pytest-*")}
    return directories | set(queues.names() or ()) | leaks.sysv_queues()


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_suite_over_kernel_queues(
    run: Callable[..., pytest.RunResult], transport: str, nothing_left: Callable[[], list[str]]
) -> None:
    run(SUITE, f"--haypile-transport={transport}").assert_outcomes(passed=6)


@pytest.mark.slow
def test_the_same_suite_over_all(
    run: Callable[..., pytest.RunResult],
    rabbitmq_broker: rabbitmq.Broker,
    nothing_left: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in rabbitmq_broker.environment.items():
        monkeypatch.setenv(name, value)
    control = server_command("rabbitmqctl")
    if rabbitmq_broker.environment and control is not None:
        # Debian's wrapper in /usr/sbin runs as another user, with another home and cookie.
        monkeypatch.setenv("PATH", f"{Path(control).parent}{os.pathsep}{os.environ['PATH']}")
    arguments = [f"--haypile-amqp-url={rabbitmq_broker.url}", "-n2", "-v"]
    result = run(SUITE, "--haypile-transport=posix,sysv,amqp", *arguments)
    result.assert_outcomes(passed=18)
    for transport in ("posix", "sysv", "amqp"):
        result.stdout.fnmatch_lines([f"*PASSED*test_time[[]{transport}[]]*"])


def test_without_the_option(run: Callable[..., pytest.RunResult]) -> None:
    """One run a test, over POSIX queues, and its name is as it was."""
    suite = """
        import pytest
        def test_plain(haypile_vhost):
            assert haypile_vhost.transport == "posix"
        @pytest.mark.haypile_transports("sysv")
        def test_marked(haypile_vhost):
            assert haypile_vhost.transport == "sysv"
    """
    result = run(suite, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_plain PASSED*", "*::test_marked[[]sysv[]] PASSED*"])
    run(suite, "--haypile-transport=posix").assert_outcomes(passed=1, skipped=1)


def test_mistakes_are_explained(run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAYPILE_TEST_AMQP_URL", raising=False)
    result = run("def test(haypile_vhost): pass", "--haypile-transport=tcp")
    result.stderr.fnmatch_lines(["*unknown tcp; use posix, sysv, amqp*"])
    result = run("def test(haypile_vhost): pass", "--haypile-transport=amqp", "-p", "no:docker")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no RabbitMQ is known: give --haypile-amqp-url*"])


def test_it_costs_nothing_when_not_used(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import sys
        def test():
            assert not {name for name in sys.modules if name.partition(".")[0] in ("haypile", "pika", "lmdb")}
        """
    )
    result.assert_outcomes(passed=1)


def test_pika_is_itself_again(run: Callable[..., pytest.RunResult]) -> None:
    run(
        """
        import os, pika
        before = dict(os.environ)
        kind = pika.BlockingConnection
        def test_over(pika_over_haypile):
            assert pika.BlockingConnection is not kind
        def test_after():
            assert pika.BlockingConnection is kind
            changed = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
            assert changed <= {"PYTEST_CURRENT_TEST"}
        """
    ).assert_outcomes(passed=2)


KILLED = """
import os, pika, signal, subprocess, sys, time
def test_dies(pika_over_haypile, haypile_vhost):
    connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
    channel = connection.channel()
    channel.queue_declare("jobs")
    channel.basic_consume("jobs", lambda *_: None)
    for _ in range(50):
        channel.basic_publish("", "jobs", b"x" * 1000)
    open("here", "w").close()
    time.sleep(60)
"""


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("keeper", ["keeper", "no keeper"])
def test_a_killed_run_leaves_nothing(
    pytester: pytest.Pytester,
    run: Callable[..., pytest.RunResult],
    transport: str,
    keeper: str,
    _kernel_queues: KernelQueues,
    nothing_left: Callable[[], list[str]],
) -> None:
    """SIGKILL in the middle of a test: the keeper cleans up; without a keeper, the next run does."""
    path = pytester.makepyfile(test_killed=KILLED)
    command = [sys.executable, "-m", "pytest", "-p", "pytest_haypile", "-p", "no:cacheprovider", "-q", str(path)]
    process = subprocess.Popen([*command, f"--haypile-transport={transport}"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (pytester.path / "here").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        seen = transport == "sysv" or _kernel_queues.names() is not None
        assert len(nothing_left()) == 1 + seen, "a directory and a kernel queue are there while the test runs"
        if keeper == "no keeper":
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    if keeper == "no keeper":
        assert nothing_left()
        run("def test(haypile_vhost): pass").assert_outcomes(passed=1)
    assert leaks.wait_until_gone(nothing_left) == []

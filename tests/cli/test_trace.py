"""``haypile trace``: what it prints, and that its end ends the tracing. What is copied: compat/programs/firehose.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.cli.conftest import Call
from tests.support.vhosts import Vhost


@contextmanager
def traced(vhost: Vhost, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``haypile trace``, from the moment it watches."""
    tracer = subprocess.Popen(
        [sys.executable, "-m", "haypile", "trace", *options],
        env=vhost.process_environment(HAYPILE_URL=vhost.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracer.stderr is not None
        assert "tracing; Ctrl-C ends it." in tracer.stderr.readline()
        yield tracer
    finally:
        tracer.kill()
        tracer.communicate()


def test_trace_prints_what_happens(vhost: Vhost, haypile: Call, request: pytest.FixtureRequest) -> None:
    if vhost.transport == "amqp":
        request.getfixturevalue("rabbitmq_broker").trace(unquote(vhost.url.rpartition("/")[2]))
    haypile(vhost, "declare", "queue", "tasks")
    # Waiting since before anybody traced.
    waiting = subprocess.Popen(
        [sys.executable, "-m", "haypile", "consume", "tasks", "--count", "1"],
        env=vhost.process_environment(HAYPILE_URL=vhost.url),
        stdout=subprocess.PIPE,
    )
    try:
        while haypile(vhost, "list", "queues", "tasks", "-c", "consumers").stdout.split() != ["consumers", "1"]:
            pass
        with (
            traced(vhost, "--count", "2") as everything,
            traced(vhost, "--json", "--queue", "tasks") as one,
            traced(vhost, "--json", "--exchange", "amq.fanout", "--idle", "3") as other,
        ):
            haypile(vhost, "publish", "tasks", "a\x1bb", "-H", "n=7")
            assert waiting.communicate(timeout=30)[0] == b"a\x1bb\n"
            haypile(vhost, "publish", "tasks", "unseen", "--exchange", "amq.direct", code=1)
            first, second = everything.communicate(timeout=30)[0].splitlines()
            assert " publish exchange '' key 'tasks' to tasks by " in first
            assert " deliver queue 'tasks' key 'tasks' by " in second
            assert second.endswith("channel 1, 3 bytes: a\\x1bb")
            assert everything.returncode == 0
            one.send_signal(signal.SIGINT)
            out, err = one.communicate(timeout=30)
            assert (one.returncode, err) == (0, "")
            seen = json.loads(out)
            assert seen.pop("node")
            assert seen.pop("connection")
            assert seen.pop("vhost")
            assert seen == {
                "event": "deliver",
                "exchange": "",
                "queue": "tasks",
                "redelivered": False,
                "routing_keys": ["tasks"],
                "properties": {"headers": {"n": 7}},
                "channel": 1,
                "user": "guest",
                "body": "a\x1bb",
            }
            assert other.communicate(timeout=30)[0] == ""
    finally:
        waiting.kill()
        waiting.communicate()


def stop_at_rest(pid: int) -> None:
    """Stop a process when it waits for what comes: one that stands still within a transaction holds everybody up."""
    calm, before = 0, ""
    while calm < 20:
        # State, and ticks of the CPU that it used: proc_pid_stat(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        now = f"{fields[0]} {fields[11]} {fields[12]}"
        calm = calm + 1 if now == before and now.startswith("S") else 0
        before = now
        time.sleep(0.01)
    os.kill(pid, signal.SIGSTOP)


def test_a_tracer_that_stands_still_holds_nobody_up(local_vhost: Vhost, haypile: Call) -> None:
    """Its copies are limited, so that it cannot fill the memory of those it watches."""
    with traced(local_vhost, "--json") as tracer:
        haypile(local_vhost, "declare", "queue", "tasks")
        stop_at_rest(tracer.pid)
        # What publishes here is done by one process: starting one for each takes long.
        haypile(local_vhost, "publish", "tasks", "--count", "700", given="x" * 40_000)
        rows = {row["name"]: row for row in json.loads(haypile(local_vhost, "list", "queues", "--json").stdout)}
        assert rows.pop("tasks")["messages_ready"] == 700
        ((_, copies),) = rows.items()
        limit = copies["arguments"]["x-max-length-bytes"]
        assert 0 < copies["messages_ready"] * 40_000 <= limit < 700 * 40_000
        os.kill(tracer.pid, signal.SIGCONT)
        assert tracer.stdout is not None
        assert json.loads(tracer.stdout.readline())["event"] == "publish"
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=30)
        assert tracer.returncode == 0


def test_a_killed_tracer_ends_the_tracing(local_vhost: Vhost, haypile: Call) -> None:
    """Nothing stays bound to the firehose's exchange."""
    with traced(local_vhost) as tracer:
        assert "amq.rabbitmq.trace" in haypile(local_vhost, "list", "bindings").stdout
        tracer.kill()
        tracer.wait()
        deadline = time.monotonic() + 30
        while "amq.rabbitmq.trace" in haypile(local_vhost, "list", "bindings").stdout:
            assert time.monotonic() < deadline, "the watcher is dead, but what it bound is there"
    assert json.loads(haypile(local_vhost, "list", "queues", "--json").stdout) == []

"""Counters of all processes together, as ``list``, ``metrics`` and ``top`` show them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Call, program
from tests.support.vhosts import Vhost

#: Publishes, gets one back, and is killed with messages in hand.
KILLED = """
import os, signal
import pika
channel = pika.BlockingConnection(pika.ConnectionParameters("localhost")).channel()
channel.queue_declare("dead")
channel.queue_declare("tasks", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
for number in range(10):
    channel.basic_publish("", "tasks", b"x")
channel.basic_publish("", "tasks", b"brief", pika.BasicProperties(expiration="1"))
for method, _, _ in channel.consume("tasks", inactivity_timeout=5):
    if method.delivery_tag == 3:
        channel.basic_ack(1)
        channel.basic_nack(2, requeue=True)
    if method.delivery_tag == 5:
        channel.basic_nack(5, requeue=False)
    if method.redelivered:
        break
channel.connection.process_data_events(time_limit=0.2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("local_vhost", ["posix", "sysv"], indirect=True)
def test_counters_outlive_processes(local_vhost: Vhost, haypile: Call, tmp_path: Path) -> None:
    path = program(tmp_path, KILLED)
    assert local_vhost.run(path).returncode == -signal.SIGKILL
    # Whoever comes next recovers it, and once only.
    haypile(local_vhost, "list", "queues")
    rows = {row["name"]: row for row in json.loads(haypile(local_vhost, "list", "queues", "--json").stdout)}
    tasks, dead = rows["tasks"], rows["dead"]
    assert (tasks["published"], tasks["acked"]) == (11, 1)
    assert tasks["delivered"] > tasks["redelivered"] >= 1
    assert tasks["dead_lettered"] == tasks["expired"] + 1
    assert dead["messages"] == tasks["dead_lettered"]
    assert tasks["messages"] == tasks["published"] - tasks["acked"] - tasks["dead_lettered"]
    haypile(local_vhost, "delete", "queue", "tasks", "--yes")
    haypile(local_vhost, "declare", "queue", "tasks")
    rows = {row["name"]: row for row in json.loads(haypile(local_vhost, "list", "queues", "--json").stdout)}
    assert rows["tasks"]["published"] == 0


def test_metrics(local_vhost: Vhost, haypile: Call, tmp_path: Path) -> None:
    haypile(local_vhost, "declare", "queue", "tasks")
    haypile(local_vhost, "publish", "tasks", "--count", "3", "x")
    haypile(local_vhost, "get", "tasks")
    text = haypile(local_vhost, "metrics").stdout
    assert "# TYPE rabbitmq_queue_messages_published_total counter" in text
    assert 'rabbitmq_queue_messages_published_total{queue="tasks",vhost="test1"} 3.0' in text
    assert 'rabbitmq_queue_messages_acked_total{queue="tasks",vhost="test1"} 1.0' in text
    assert 'rabbitmq_queue_messages_ready{queue="tasks",vhost="test1"} 2.0' in text
    assert 'rabbitmq_connections{vhost="test1"} 0.0' in text
    haypile(local_vhost, "metrics", "--file", str(tmp_path / "out.prom"))
    assert (tmp_path / "out.prom").read_text() == text
    server = subprocess.Popen(
        [sys.executable, "-m", "haypile", "metrics", "--host", "127.0.0.1", "--port", "0"],
        env=local_vhost.process_environment(HAYPILE_URL=local_vhost.url),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        found = re.search("http://.*/metrics", server.stderr.readline())
        assert found is not None
        with urllib.request.urlopen(found.group(), timeout=10) as answer:
            assert "rabbitmq_queue_messages_ready" in answer.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
        assert server.stderr is not None
        server.stderr.close()


def test_top_once(local_vhost: Vhost, haypile: Call) -> None:
    for name in ("tasks", "other"):
        haypile(local_vhost, "declare", "queue", name)
    haypile(local_vhost, "publish", "tasks", "x")
    rows = json.loads(haypile(local_vhost, "top", "--once", "--json", "--interval", "0.1").stdout)
    assert [(row["name"], row["messages_ready"]) for row in rows] == [("tasks", 1), ("other", 0)]
    lines = haypile(local_vhost, "top", "--once", "--interval", "0.1", "--filter", "oth").stdout.splitlines()
    assert lines[0].split()[0] == "name" and [line.split()[0] for line in lines[1:]] == ["other"]
    assert "needs a terminal" in haypile(local_vhost, "top", code=2).stderr


def test_top_live(local_vhost: Vhost, haypile: Call) -> None:
    """In a terminal: the table, a filter, a queue opened, the end."""
    for name in ("tasks", "other"):
        haypile(local_vhost, "declare", "queue", name)
    haypile(local_vhost, "publish", "tasks", "a body to be seen")
    pid, terminal = pty.fork()
    if not pid:
        screen = {"TERM": "xterm", "COLUMNS": "120", "LINES": "10"}
        environment = local_vhost.process_environment(HAYPILE_URL=local_vhost.url, **screen)
        os.execve(sys.executable, [sys.executable, "-m", "haypile", "top", "--interval", "0.2"], environment)
    try:
        wait_for(terminal, b"tasks", b"other")
        os.write(terminal, b"/task\n")
        wait_for(terminal, b"/task")
        os.write(terminal, b"\n")
        wait_for(terminal, b"a body to be seen")
        os.write(terminal, b"q")
        while wait_for(terminal):
            pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


def wait_for(terminal: int, *texts: bytes) -> bytes:
    """What the terminal shows until all ``texts`` were there; b"" at its end."""
    shown = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                return b""
            if all(text in shown for text in texts):
                return shown
    raise AssertionError(f"{texts} not shown: {shown[-500:]!r}")

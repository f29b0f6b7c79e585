"""Libraries on top of pika run over kernel queues unchanged (docs/libraries.md)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.vhosts import Vhost

APP = """
import os
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url="amqp://guest:guest@localhost:5672/"))

def note(*words):
    with open(os.environ["NOTES"], "a") as file:
        print(*words, file=file)

@dramatiq.actor
def add(first, second):
    note(first + second)

@dramatiq.actor(max_retries=1, min_backoff=10, max_backoff=20)
def failing():
    note("failing")
    raise RuntimeError("once more")

if __name__ == "__main__":
    failing.send()
    add.send_with_options(args=(3, 4), delay=200)
    add.send(1, 2)
"""


def test_dramatiq(make_vhost: Callable[[str], Vhost], tmp_path: Path) -> None:
    """Workers in two processes; a delay, a retry and a dead letter."""
    vhost, notes = make_vhost("posix"), tmp_path / "notes"
    (tmp_path / "app.py").write_text(APP)
    notes.touch()
    launcher = [sys.executable, "-m", "haypile", "run", "--url", vhost.url]
    environment = vhost.process_environment(NOTES=str(notes))
    subprocess.run([*launcher, "app.py"], cwd=tmp_path, env=environment, check=True, timeout=60)
    workers = subprocess.Popen(
        [*launcher, "-m", "dramatiq", "app", "--processes", "2", "--threads", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 50
        while len(notes.read_text().split()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        workers.send_signal(signal.SIGTERM)
        assert workers.wait(timeout=40) == 0
    finally:
        if workers.poll() is None:
            workers.kill()
            workers.wait()
    assert sorted(notes.read_text().split()) == ["3", "7", "failing", "failing"]
    listing = [sys.executable, "-m", "haypile", "list", "queues", "-c", "name,messages_ready", "--url", vhost.url]
    rows = subprocess.run(listing, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [row.split() for row in rows[1:]] == [["default", "0"], ["default.DQ", "0"], ["default.XQ", "1"]]

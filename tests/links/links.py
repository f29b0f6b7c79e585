"""Links as processes of their own, and what goes in and comes out of them.

Owns: starting ``haypile link run``, publishing and counting. Must not know: how links work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pika

import haypile

LOCAL = "posix:///edge"


class Running:
    """``haypile link run`` with a routes file."""

    def __init__(self, directory: Path, routes: str, **environment: str) -> None:
        self.file = directory / "haypile.toml"
        self.file.write_text(routes)
        self.log = directory / "link.log"
        self.environment = {**os.environ, **environment, "HAYPILE_ROUTES": str(self.file)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haypile", "link", "run", "--url", LOCAL],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> int:
        """SIGTERM; returns how it ended."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15)

    def status(self, name: str) -> dict[str, Any]:
        """What ``haypile link status`` says of one link; nothing before it ran."""
        done = subprocess.run(
            [sys.executable, "-m", "haypile", "link", "status", "--json", "--url", LOCAL],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return next((one for one in found if one["name"] == name), {})


def connect(url: str) -> Any:
    """A blocking connection, here or there."""
    return haypile.BlockingConnection(haypile.URLParameters(url))


def publish(url: str, queue: str, bodies: Iterable[bytes], **properties: Any) -> None:
    """Publish persistent messages to ``queue``; the RabbitMQ has them for good when this returns."""
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.tx_select()
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2, **properties))
        channel.tx_commit()


def drain(url: str, queue: str, count: int, seconds: float = 30) -> list[tuple[Any, Any, bytes]]:
    """Take until ``count`` different bodies have come, or the time is over, and a moment longer."""
    found: list[tuple[Any, Any, bytes]] = []
    different: set[bytes] = set()
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        until = time.monotonic() + seconds
        for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.3):
            if method is None:
                if len(different) >= count or time.monotonic() > until:
                    break
                continue
            found.append((method, properties, body))
            different.add(body)
        channel.cancel()
    return found


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30, pause: float = 0.05) -> None:
    """Until it holds. Raises AssertionError that says what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(pause)


def empty(url: str, queue: str) -> bool:
    """Whether nothing waits there."""
    with connect(url) as connection:
        result = connection.channel().queue_declare(queue, durable=True, passive=True)
        return bool(result.method.message_count == 0)

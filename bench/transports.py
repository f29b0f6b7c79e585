"""Where the measured programs connect: a RabbitMQ, or haypile's kernel queues.

Owns: the environment and the command line a program gets, the private state directory, the names it
uses and their removal. Must not know: scenarios.

Invariant: the programs are the same files on every transport; only the launcher in front of them and
the environment differ.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pika
import pika.exceptions

from bench import procfs
from bench.stage import Program, ProgramError, Stage

#: What there is to choose from.
TRANSPORTS = ("posix", "sysv", "amqp")

#: Tests and CI may have no /dev/shm; then the usual temporary directory does.
SHARED_MEMORY = Path("/dev/shm")


class Transport(Protocol):
    """What a scenario sees of a transport."""

    name: str

    def start(self, stage: Stage, client: str, *arguments: str) -> Program:
        """Run ``bench.clients.<client>`` over this transport."""
        ...

    def start_plain(self, stage: Stage, client: str, *arguments: str) -> Program:
        """Run it with pika alone, for what haypile adds to a process."""
        ...

    def unique(self, noun: str) -> str:
        """A fresh name for a queue or an exchange."""
        ...

    def helper_cpu(self) -> float | None:
        """CPU seconds so far of processes other than the programs; None: cannot be told."""
        ...

    def helper_memory(self) -> int | None:
        """Bytes that hold messages outside the programs; None: cannot be told."""
        ...

    def close(self) -> None:
        """Remove all it made."""
        ...


def python_path() -> str:
    """This process's import path, so that the programs find what it finds."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)


def plain_environment() -> dict[str, str]:
    """The environment of a program that knows of neither haypile nor the bench's RabbitMQ."""
    return {**os.environ, "PYTHONPATH": python_path()}


class RabbitMQ:
    """pika as it is, to a RabbitMQ."""

    name = "amqp"

    def __init__(self, url: str) -> None:
        self._url = url
        self._names: list[str] = []
        self._environment = {**plain_environment(), "AMQP_URL": url}
        parts = urlsplit(url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        self._broker = procfs.listener(parts.port or 5672) if local else None
        connection = pika.BlockingConnection(pika.URLParameters(url))
        # Not public, but the only place where pika keeps what the broker said of itself.
        properties = connection._impl.server_properties or {}
        self.version = f"{properties.get('product')} {properties.get('version')}"
        connection.close()

    def start(self, stage: Stage, client: str, *arguments: str) -> Program:
        return stage.start(["-m", f"bench.clients.{client}", *arguments], self._environment)

    start_plain = start

    def unique(self, noun: str) -> str:
        name = f"bench-{noun}-{secrets.token_hex(4)}"
        self._names.append(name)
        return name

    def helper_cpu(self) -> float | None:
        try:
            return procfs.cpu_seconds_ever(self._broker) if self._broker else None
        except OSError:
            return None

    def helper_memory(self) -> int | None:
        try:
            return procfs.memory(self._broker).resident if self._broker else None
        except OSError:
            return None

    def close(self) -> None:
        """Delete every queue and exchange that was given a name, whatever is left of them."""
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(self._url))) as connection:
            channel = connection.channel()
            for name in self._names:
                channel.queue_delete(name)
                channel.exchange_delete(name)


class Haypile:
    """The same programs under ``haypile run``, in a state directory of their own."""

    def __init__(self, scheme: str) -> None:
        self.name = scheme
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="haypile-bench-", dir=place))
        self._launcher = ["-m", "haypile", "run", "--url", f"{scheme}:///bench"]
        self._plain = {**plain_environment(), "AMQP_URL": "amqp://localhost"}
        # On a disk, as RabbitMQ's.
        self._journal = tempfile.mkdtemp(prefix="haypile-bench-", dir="/var/tmp")
        self._environment = {
            **self._plain,
            "HAYPILE_DIR": str(self.directory),
            "HAYPILE_JOURNAL_DIR": self._journal,
        }

    def start(self, stage: Stage, client: str, *arguments: str) -> Program:
        return stage.start([*self._launcher, "-m", f"bench.clients.{client}", *arguments], self._environment)

    def start_plain(self, stage: Stage, client: str, *arguments: str) -> Program:
        return stage.start(["-m", f"bench.clients.{client}", *arguments], self._plain)

    def unique(self, noun: str) -> str:
        return f"bench-{noun}-{secrets.token_hex(4)}"

    def helper_cpu(self) -> float | None:
        return 0.0

    def helper_memory(self) -> int | None:
        return procfs.directory_bytes(self.directory)

    def close(self) -> None:
        """Kernel queues of sessions that were killed go with the next connection's recovery."""
        if any(self.directory.rglob("sessions/*.lock")):
            with contextlib.suppress(ProgramError), Stage() as stage:
                program = self.start(stage, "opening")
                program.expect("ready")
                program.close()
        for made in (str(self.directory), self._journal):
            shutil.rmtree(made, ignore_errors=True)


def open_transports(names: Sequence[str], amqp_url: str) -> list[Transport]:
    """The transports called ``names``, in that order; a RabbitMQ that does not answer is left out."""
    made: list[Transport] = []
    for name in names:
        if name != "amqp":
            made.append(Haypile(name))
            continue
        try:
            made.append(RabbitMQ(amqp_url))
        except pika.exceptions.AMQPError as error:
            print(f"no RabbitMQ at --amqp-url, so no ratios to it: {error!r}", file=sys.stderr)
    return made

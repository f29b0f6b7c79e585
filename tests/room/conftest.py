"""Small file systems, and programs that fill them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import haypile
from tests.support.vhosts import Vhost

PROGRAMS = Path(__file__).parent / "programs"

Mount = Callable[..., Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Makes small tmpfs mounts: ``mount(size="4m", nr_inodes="20")``."""
    mounted: list[Path] = []

    def make(**options: str) -> Path:
        place = Path(tempfile.mkdtemp(prefix="haypile-room-"))
        said = ",".join(f"{name}={value}" for name, value in {**options, "mode": "0700"}.items())
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", said, "haypile-test", str(place)], capture_output=True)
        if done.returncode:
            place.rmdir()
            pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


@pytest.fixture(params=["posix", "sysv"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each kind of kernel queue."""
    return str(request.param)


@pytest.fixture
def tiny(
    transport: str, mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Vhost:
    """A vhost in 4 MiB of shared memory, its journal elsewhere."""
    directory = mount(size="4m")
    monkeypatch.setenv("HAYPILE_DIR", str(directory))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(tmp_path / "journal"))
    return Vhost(transport, f"{transport}:///room", {})


class Program:
    """A running pika program."""

    def __init__(self, vhost: Vhost, name: str, *arguments: str, wrap: tuple[str, ...] = ()) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [*wrap, *vhost.command(PROGRAMS / name, *arguments)],
            env=vhost.process_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def end(self, seconds: float = 50) -> tuple[int, list[str], str]:
        """Exit status, lines of the output, standard error; once it has ended."""
        output = self.process.communicate(timeout=seconds)[0]
        return self.process.returncode, output.splitlines(), self.logged()

    def logged(self) -> str:
        """Standard error so far."""
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode()

    def close(self) -> None:
        """However it ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.errors.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Program]]:
    """Starts programs: ``run(vhost, "publish.py", "10", "100")``."""
    running: list[Program] = []

    def start(*arguments: Any, **options: Any) -> Program:
        running.append(Program(*arguments, **options))
        return running[-1]

    yield start
    for program in running:
        program.close()


def connect(vhost: Vhost, **options: Any) -> Any:
    """A blocking connection of this process."""
    parameters = haypile.URLParameters(vhost.url)
    for name, value in options.items():
        setattr(parameters, name, value)
    return haypile.BlockingConnection(parameters)


def depth(channel: Any, queue: str = "q") -> int:
    """Ready messages."""
    return int(channel.queue_declare(queue, durable=True, passive=True).method.message_count)


def settled(look: Callable[[], int], quiet: float = 0.7, seconds: float = 30) -> int:
    """What ``look`` says once it has not changed for ``quiet`` seconds, and is not 0."""
    deadline = time.monotonic() + seconds
    last, since = look(), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = look()
        if now != last:
            last, since = now, time.monotonic()
        elif last and time.monotonic() - since > quiet:
            return last
    raise AssertionError(f"still changing, or nothing: {last}")


def consume(channel: Any, count: int, *, auto_ack: bool = False, seconds: float = 50) -> list[int]:
    """The numbers of ``count`` messages."""
    got: list[int] = []
    deadline = time.monotonic() + seconds
    for method, _, body in channel.consume("q", auto_ack=auto_ack, inactivity_timeout=0.5):
        if method is not None:
            got.append(int(body.partition(b" ")[0]))
            if not auto_ack:
                channel.basic_ack(method.delivery_tag)
        if len(got) == count or time.monotonic() > deadline:
            break
    channel.cancel()
    return got


def blocked_and_unblocked(lines: list[str], reason: str) -> int:
    """Checks that each block gave ``reason`` (a pattern) and was followed by its end; how many there were."""
    events = [line for line in lines if "blocked" in line]
    assert len(events) % 2 == 0
    for block, end in zip(events[::2], events[1::2], strict=True):
        assert re.match(f"blocked: {reason}", block) and end == "unblocked"
    return len(events) // 2


PYTHON = sys.executable

"""Fresh vhosts for tests, on each transport.

Owns: what a test needs to know of a vhost: how to connect to it in this process, and how to start a program
that talks to it. Must not know: what tests do there.

A local vhost lives in a state directory of its own, on tmpfs where there is one, as users have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Vhost:
    """One fresh vhost.

    ``transport`` is ``amqp`` or the scheme of a local one; ``url`` is what haypile takes; ``environment`` is
    what processes need beside os.environ.
    """

    transport: str
    url: str
    environment: dict[str, str]

    @property
    def pika_url(self) -> str:
        """A URL that ``pika.URLParameters`` takes; over a local one haypile's launcher decides instead."""
        return self.url if self.transport == "amqp" else "amqp://guest:guest@localhost:5672/%2F"

    def command(self, program: str | Path, *arguments: str) -> list[str]:
        """The command line that runs ``program`` against this vhost."""
        if self.transport == "amqp":
            return [sys.executable, str(program), *arguments]
        return [sys.executable, "-m", "haypile", "run", "--url", self.url, str(program), *arguments]

    def process_environment(self, **more: str) -> dict[str, str]:
        """The whole environment of a process started by ``command``."""
        kept = {name: value for name, value in os.environ.items() if name != "HAYPILE_URL"}
        return kept | self.environment | {"AMQP_URL": self.pika_url, "PYTHONUNBUFFERED": "1"} | more

    def run(
        self, program: str | Path, *arguments: str, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ``program`` to its end."""
        return subprocess.run(
            self.command(program, *arguments),
            env=self.process_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


def make_state_directory() -> Path:
    """A private directory for HAYPILE_DIR."""
    usable = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="haypile-test-", dir=SHARED_MEMORY if usable else None))


def remove_state_directory(directory: Path) -> None:
    """Remove it with all it holds."""
    shutil.rmtree(directory, ignore_errors=True)


def local_vhost(transport: str, directory: Path, name: str) -> Vhost:
    """A vhost of this machine; it comes into being by the first connection."""
    return Vhost(transport, f"{transport}:///{name}", state_environment(directory))


def state_environment(directory: Path) -> dict[str, str]:
    """What has haypile keep its state below ``directory``, the journal included."""
    return {"HAYPILE_DIR": str(directory), "HAYPILE_JOURNAL_DIR": str(directory / "journal")}

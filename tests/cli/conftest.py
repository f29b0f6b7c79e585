"""The ``haypile`` command as people call it: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.vhosts import Vhost

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]


@pytest.fixture
def haypile() -> Call:
    """Call the command with ``--url`` of a vhost: ``haypile(vhost, "list", "queues")``."""

    def call(vhost: Vhost, *arguments: str, given: str | None = None, code: int = 0) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "haypile", *arguments],
            env=vhost.process_environment(HAYPILE_URL=vhost.url),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def local_vhost(make_vhost: Callable[[str], Vhost], request: pytest.FixtureRequest) -> Vhost:
    """A fresh vhost of this host's POSIX queues."""
    return make_vhost(getattr(request, "param", "posix"))


def program(directory: Path, text: str) -> Path:
    """A program with that text."""
    path = directory / "program.py"
    path.write_text(text)
    return path

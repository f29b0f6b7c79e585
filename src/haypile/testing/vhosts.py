"""Making fresh vhosts for a test process, and removing them, whatever happens to it.

Owns: the run's directory, its keeper process, and the sweep of runs whose keeper was killed, too.
Must not know: pytest, what a test does with a vhost (``vhost``).

Invariant: the keeper knows a vhost before it is made, so a run killed at any instant leaves none. A run holds a
lock on its ``owner`` file; a directory whose lock is free is of a run that ended, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from haypile import targets
from haypile.admin import removal
from haypile.testing.rabbitmq import NoRabbitMQ, Server

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "haypile-pytest-"
KEEPER = Path(__file__).with_name("keeper.py")

__all__ = ["NoRabbitMQ", "Vhosts", "remove_url"]


class Vhosts:
    """The vhosts of one process; ``close`` it."""

    def __init__(self, amqp_url: str | None = None, amqp_api: str | None = None) -> None:
        """``amqp_url``: the RabbitMQ in which vhosts for "amqp" are made; ``amqp_api``: its management API."""
        self.amqp_url, self.amqp_api = amqp_url, amqp_api
        place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        sweep(place)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
        self._owner = os.open(self.directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self._owner, fcntl.LOCK_EX)
        self._pid = os.getpid()
        self._keeper = subprocess.Popen(
            [sys.executable, str(KEEPER), str(self._pid), str(self.directory), amqp_api or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )

    def make(self, transport: str, name: str) -> str:
        """The URL of a fresh vhost called something like ``name``.

        ``transport``: "posix", "sysv" or "amqp". Raises NoRabbitMQ.
        """
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60].strip("-.") or "test"
        unique = f"{plain}-{secrets.token_hex(4)}"
        if transport == "amqp":
            if not self.amqp_url:
                raise NoRabbitMQ(
                    "no RabbitMQ is known: give --haypile-amqp-url=amqp://USER:PASSWORD@HOST/ or set "
                    "HAYPILE_TEST_AMQP_URL"
                )
            server = Server(self.amqp_url, self.amqp_api)
            url = server.url_of(unique)
            self._tell(f"+ {url}")
            server.add(unique)
            return url
        if transport not in targets.LOCAL:
            raise ValueError(f"transport {transport!r} is unknown; use posix, sysv or amqp")
        # No journal: a test's messages need not survive a reboot.
        url = f"{transport}:///{unique}?durability=host&dir={quote(str(self.directory), safe='/')}"
        self._tell(f"+ {url}")
        return url

    def remove(self, url: str) -> None:
        """Remove a vhost that ``make`` made."""
        remove_url(url, self.amqp_api)
        self._tell(f"- {url}")

    def _tell(self, line: str) -> None:
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            # A keeper that was killed: the next run sweeps.
            self._keeper.stdin.write(f"{line}\n".encode())

    def close(self) -> None:
        """Remove the directory and end the keeper. In a forked child nothing happens."""
        if os.getpid() != self._pid:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self._tell("bye")
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        os.close(self._owner)


def remove_url(url: str, api: str | None = None) -> None:
    """Remove the vhost at ``url``, and end whoever is connected to it. Raises NoRabbitMQ."""
    local = targets.parse_local(url)
    if local is None:
        Server(url, api).remove(unquote(urlsplit(url).path[1:]))
    else:
        removal.remove(targets.local_target(local, "/"), force=True)


def sweep(place: Path) -> None:
    """Remove what ended runs of this user left in ``place``."""
    for directory in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            state = os.lstat(directory)
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and _ended(directory):
                for found in removal.vhosts(directory):
                    remove_url(f"{found.transport}:///{quote(found.name, safe='')}?dir={quote(str(directory))}")
                for transport, grave in removal.graves(directory):
                    removal.bury(grave, transport, None)
                shutil.rmtree(directory, ignore_errors=True)


def _ended(directory: Path) -> bool:
    """Whether the run that owns ``directory`` is over; never for one of this process."""
    if directory.name.startswith(f"{PREFIX}{os.getpid()}-"):
        return False
    try:
        fd = os.open(directory / "owner", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # It is just being made, or was just removed: a minute tells.
        return time.time() - directory.stat().st_mtime > 60
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True

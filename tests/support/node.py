"""A RabbitMQ of the tests' own that may be stopped, killed, started and blocked while they run.

Owns: one epmd and one server on fixed ports with a data directory that outlives its stops.
Must not know: haypile.

``stop`` is rabbitmqctl stop_app (clients lose their connections in order); ``kill`` is SIGKILL of the Erlang
machine, and ``start`` undoes either.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support import keeper
from tests.support.rabbitmq import NoRabbitMQ


class Node:
    """One server; call ``close`` when done."""

    def __init__(self) -> None:
        """Starts it. Raises ``NoRabbitMQ`` where rabbitmq-server is not installed or does not start."""
        self.directory = Path(tempfile.mkdtemp(prefix="haypile-node-"))
        ports = keeper._free_ports(3)
        self.port = ports[0]
        self.environment = keeper._environment(self.directory, ports)
        self.environment["RABBITMQ_NODENAME"] = f"haypile-node-{os.getpid()}@localhost"
        keeper._write_settings(self.directory)
        #: Process group of the server; 0: it is not there.
        self.server = 0
        epmd = shutil.which("epmd", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/lib/erlang/bin")
        if epmd is None or keeper.server_command("rabbitmq-server") is None:
            raise NoRabbitMQ("rabbitmq-server or epmd is not installed")
        self.epmd = self._run_aside(epmd)
        self.start()

    @property
    def url(self) -> str:
        """Its default vhost."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def _run_aside(self, command: str) -> int:
        """Start ``command`` as nobody's child, so that a test may see it go and come; returns its process group."""
        with (self.directory / "output").open("ab") as output:
            started = subprocess.Popen(
                ["sh", "-c", '"$0" & exit 0', command],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started.wait()
        return started.pid

    def start(self) -> None:
        """Start it, or start it again; returns when clients may connect."""
        if self.server:
            self.control("start_app")
        else:
            command = keeper.server_command("rabbitmq-server")
            assert command is not None
            self.server = self._run_aside(command)
        deadline = time.monotonic() + keeper.START_SECONDS
        while not keeper._answers(self.port):
            if time.monotonic() > deadline:
                raise NoRabbitMQ("the node did not start: " + (self.directory / "output").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the broker in order; the Erlang machine stays."""
        self.control("stop_app")

    def remember(self) -> None:
        """Have what was declared last on its disk.

        A RabbitMQ 3.10 that was killed within a second of queue.declare-ok came back without that durable queue.
        """
        self.control("eval", "mnesia:sync_log().")

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing flushed."""
        server, self.server = self.server, 0
        if server:
            self._kill_group(server)
            deadline = time.monotonic() + 10
            while keeper._answers(self.port) and time.monotonic() < deadline:
                time.sleep(0.01)

    @staticmethod
    def _kill_group(group: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    def block(self) -> None:
        """Raise the memory alarm: publishers are blocked."""
        self.control("set_vm_memory_high_watermark", "0.000001")

    def unblock(self) -> None:
        """End the alarm."""
        self.control("set_vm_memory_high_watermark", "0.4")

    def control(self, *arguments: str) -> str:
        """rabbitmqctl; returns what it printed."""
        command = keeper.server_command("rabbitmqctl")
        assert command is not None
        done = subprocess.run(
            [command, "-q", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if done.returncode:
            raise NoRabbitMQ(f"rabbitmqctl {arguments[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """Kill what was started and remove its directory."""
        self.kill()
        self._kill_group(self.epmd)
        # Erlang's helpers run in sessions of their own and end when its pipes close.
        deadline = time.monotonic() + 5
        while self._helpers() and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _helpers(self) -> list[str]:
        """Processes that still name our directory in their environment."""
        wanted = f"RABBITMQ_MNESIA_BASE={self.directory}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if wanted in (entry / "environ").read_bytes():
                        found.append(entry.name)
                except OSError:
                    continue
        return found

"""A process that keeps one private RabbitMQ alive while its owner lives, and leaves nothing behind.

Owns: one epmd and one rabbitmq-server on ports, a node name and directories of their own, and the removal of
all of it. Must not know: what the server is for.

Started as ``python -m tests.support.keeper DIRECTORY OWNER_PID``. It is a process of its own because the
server must end whatever happens to the test run: it watches the owner through a pidfd, so a run killed with
SIGKILL is noticed as well as one that ends. It makes itself a subreaper, so that helpers Erlang starts in
sessions of their own come back to it and are waited for. ``DIRECTORY/ready.json`` appears when clients may
connect, ``DIRECTORY/failed`` holds the reason when they never will.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
#: Seconds a cold start may take; about six on two idle cores.
START_SECONDS = 90.0
#: Exchange types that programs of compat/ use.
PLUGINS = {"rabbitmq_consistent_hash_exchange", "rabbitmq_random_exchange", "rabbitmq_recent_history_exchange"}
SERVER_PLACES = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/opt/rabbitmq/sbin", "/usr/local/sbin")


def server_command(name: str) -> str | None:
    """The path of a RabbitMQ script, or None. Debian's wrappers (they change the user) come last."""
    found = shutil.which(name, path=os.pathsep.join(SERVER_PLACES))
    return found or shutil.which(name)


def _free_ports(count: int) -> list[int]:
    """Ports that stay free while their server is down.

    The system gives none of them to a connection that goes out. One that it does give may go to whoever tries to
    reach the server: the connection then reaches itself, and the server finds its port in use.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            sockets.append(socket.socket())
            try:
                sockets[-1].bind(("127.0.0.1", random.randrange(10_000, lowest) if lowest > 10_100 else 0))
            except OSError:
                sockets.pop().close()
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _environment(directory: Path, ports: list[int]) -> dict[str, str]:
    port, dist_port, epmd_port = ports
    settings = {
        "HOME": str(directory),  # the Erlang cookie is made here
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"haypile-{os.getpid()}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
    return kept | settings


def _plugins() -> list[str]:
    """Those of ``PLUGINS`` that came with the server."""
    server = server_command("rabbitmq-server")
    places = [] if server is None else Path(server).resolve().parents[1].glob("**/plugins/*")
    return sorted({place.name.split("-")[0] for place in places} & PLUGINS)


def _write_settings(directory: Path) -> None:
    for name in ("data", "log"):
        (directory / name).mkdir(exist_ok=True)
    (directory / "plugins").write_text(f"[{','.join(_plugins())}].\n")
    (directory / "rabbitmq.conf").write_text("log.file.level = warning\ndisk_free_limit.absolute = 10MB\n")


def _answers(port: int) -> bool:
    """Whether an AMQP server speaks: RabbitMQ answers the protocol header with Connection.Start."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False


class Keeper:
    """One epmd, one server, and the owner they live for."""

    def __init__(self, directory: Path, owner: int) -> None:
        self.directory = directory
        self.owner = os.pidfd_open(owner)
        self.children: list[subprocess.Popen[bytes]] = []
        self.stopped = False

    def start(self) -> None:
        ports = _free_ports(3)
        environment = _environment(self.directory, ports)
        _write_settings(self.directory)
        with (self.directory / "output").open("wb") as output:
            common: dict[str, Any] = {"env": environment, "cwd": self.directory, "stdin": subprocess.DEVNULL}
            epmd = shutil.which("epmd", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/lib/erlang/bin")
            server = server_command("rabbitmq-server")
            if server is None or epmd is None:
                raise FileNotFoundError("rabbitmq-server or epmd is not installed")
            self.children.append(subprocess.Popen([epmd], stdout=output, stderr=output, **common))
            self.children.append(subprocess.Popen([server], stdout=output, stderr=output, **common))
        self._wait(ports[0])
        told = {"port": ports[0], "node": environment["RABBITMQ_NODENAME"], "keeper": os.getpid()}
        told["environment"] = {
            name: value
            for name, value in environment.items()
            if name.startswith(("RABBITMQ_", "ERL_")) or name == "HOME"
        }
        unfinished = self.directory / "ready.new"
        unfinished.write_text(json.dumps(told))
        unfinished.rename(self.directory / "ready.json")

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            ended = self.children[-1].poll()
            if ended is not None or time.monotonic() > deadline or self.stopped or self._owner_gone(0.1):
                output = (self.directory / "output").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"rabbitmq-server did not start (exit {ended}):\n{output}")

    def _owner_gone(self, seconds: float) -> bool:
        return bool(select.select([self.owner], [], [], seconds)[0])

    def watch(self) -> None:
        while not self.stopped and not self._owner_gone(0.5):
            if self.children[-1].poll() is not None:
                return

    def stop(self) -> None:
        """Kill what was started, wait for every descendant, remove the directory."""
        for child in self.children:
            child.kill()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for pid in _descendants():
                os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            time.sleep(0.01)
        shutil.rmtree(self.directory, ignore_errors=True)


def _descendants() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in listed]


def main() -> None:
    directory, owner = Path(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = Keeper(directory, owner)

    def stop(_signal: int, _frame: object) -> None:
        keeper.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the test run; its end ends us
    try:
        keeper.start()
        keeper.watch()
    except Exception as error:
        (directory / "failed").write_text(str(error))
        deadline = time.monotonic() + 30  # long enough for the owner to read why
        while time.monotonic() < deadline and not keeper.stopped and not keeper._owner_gone(0.1):
            pass
    finally:
        keeper.stop()


if __name__ == "__main__":
    main()

"""Where the tests' RabbitMQ comes from.

Owns: the three ways to get one, in order: a URL in HAYPILE_TEST_AMQP_URL; docker compose, when a docker
engine answers; the system's rabbitmq-server as a private node (installed first by apt-get when that is
possible). And the making of fresh vhosts on whichever it is. Must not know: haypile.

``NoRabbitMQ`` says why none could be had; the fixture turns it into a skip, or in CI into a failure.
"""

from __future__ import annotations

import base64
import fcntl
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika

from tests.support.keeper import START_SECONDS, server_command

URL_VARIABLE = "HAYPILE_TEST_AMQP_URL"
#: The management API of the server behind URL_VARIABLE, when it is not on port 15672 of the same host.
API_VARIABLE = "HAYPILE_TEST_AMQP_API"
#: "url", "docker" or "system": take this way and no other.
WAY_VARIABLE = "HAYPILE_TEST_RABBITMQ"
#: Set by the process that owns the test run, inherited by xdist's workers: where the private node lives.
DIRECTORY_VARIABLE = "HAYPILE_TEST_RABBITMQ_DIR"
ROOT = Path(__file__).resolve().parents[2]
#: Vhosts are made this many at a time: a call of rabbitmqctl takes half a second, a vhost 50 ms.
POOL = 8
#: The version whose answers haypile gives; what another one answers may differ.
FOLLOWED = "3.10"


class NoRabbitMQ(Exception):
    """No RabbitMQ can be had here; the text says why, way by way."""


@dataclass
class Broker:
    """A RabbitMQ that tests may use.

    ``url`` has no path. ``add`` and ``remove`` make and remove vhosts by name.
    """

    way: str
    url: str
    add: Callable[[list[str]], None]
    remove: Callable[[list[str]], None]
    #: Takes a definitions file's content (policies, parameters).
    define: Callable[[dict[str, Any]], None]
    #: Turns the firehose of a vhost on.
    trace: Callable[[str], None]
    #: With these variables rabbitmqctl reaches it, if it is a node of our own.
    environment: dict[str, str] = field(default_factory=dict)
    helpers: set[int] = field(default_factory=set)
    _pool: list[str] = field(default_factory=list)
    _used: list[str] = field(default_factory=list)

    @functools.cached_property
    def version(self) -> str:
        """As it says when a client connects."""
        with pika.BlockingConnection(pika.URLParameters(self.vhost_url(self.fresh_vhost()))) as connection:
            properties: dict[str, Any] = connection._impl.server_properties
            return str(properties["version"])

    @property
    def followed(self) -> bool:
        """Whether it is the version that haypile follows."""
        return self.version.startswith(f"{FOLLOWED}.")

    def fresh_vhost(self) -> str:
        """The name of a vhost nobody has used."""
        if not self._pool:
            names = [f"haypile-test-{os.getpid()}-{secrets.token_hex(4)}" for _ in range(POOL)]
            self.add(names)
            self._pool, self._used = names, self._used + names
        return self._pool.pop()

    def vhost_url(self, vhost: str) -> str:
        """The AMQP URL of one vhost."""
        return f"{self.url}/{urllib.parse.quote(vhost, safe='')}"

    @contextmanager
    def setting(self, assignment: str | None) -> Iterator[None]:
        """While this runs, "NAME=MILLISECONDS" holds for the whole server, which looks each second.

        Only for recording, on a server of one's own: ``rabbitmqctl`` must reach it.
        """
        if assignment is None:
            yield
            return
        control = _Control(dict(os.environ), server_command("rabbitmqctl"))
        name, _, value = assignment.partition("=")
        read = "{ok, A} = application:get_env(rabbit, %s), {ok, B} = application:get_env(rabbit, channel_tick_interval)"
        old = json.loads(control.run("eval", f"{read % name}, [A, B]."))
        change = "application:set_env(rabbit, %s, %s), application:set_env(rabbit, channel_tick_interval, %s)."
        control.run("eval", change % (name, value, 1000))
        try:
            yield
        finally:
            control.run("eval", change % (name, *old))

    def close(self) -> None:
        """Remove the vhosts made here; a private node goes with its keeper."""
        if self._used and self.way != "system":
            self.remove(self._used)


# -- by HTTP: a server given by URL, or in docker ------------------------------------------------------------


@dataclass(frozen=True)
class Api:
    """The part of the management plugin's HTTP API that makes and removes vhosts."""

    address: str
    user: str
    password: str

    def call(self, method: str, path: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/{path}", data, method=method)
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20):
            pass

    def add(self, names: list[str]) -> None:
        for name in names:
            self.call("PUT", f"vhosts/{name}")
            rights = {"configure": ".*", "write": ".*", "read": ".*"}
            self.call("PUT", f"permissions/{name}/{urllib.parse.quote(self.user)}", rights)

    def remove(self, names: list[str]) -> None:
        for name in names:
            self.call("DELETE", f"vhosts/{name}")

    def define(self, definitions: dict[str, Any]) -> None:
        self.call("POST", "definitions", definitions)

    def trace(self, vhost: str) -> None:
        self.call("PUT", f"vhosts/{vhost}", {"tracing": True})


def _by_url(url: str, api: str | None, way: str) -> Broker:
    parts = urllib.parse.urlsplit(url)
    host, user, password = parts.hostname or "localhost", parts.username or "guest", parts.password or "guest"
    plain = f"{parts.scheme}://{parts.netloc}"
    http = Api((api or f"http://{host}:15672").rstrip("/"), user, password)
    try:
        http.call("GET", "overview")
    except (urllib.error.URLError, OSError) as error:
        control = _Control(dict(os.environ), shutil.which("rabbitmqctl"))
        if host not in ("localhost", "127.0.0.1", "::1") or not control.works():
            raise NoRabbitMQ(
                f"{URL_VARIABLE} is set, but fresh vhosts cannot be made there: {http.address} does not "
                f"answer as a management API ({error}); set {API_VARIABLE}"
            ) from error
        return Broker(way, plain, control.add, control.remove, control.define, control.trace)
    return Broker(way, plain, http.add, http.remove, http.define, http.trace)


# -- by rabbitmqctl: a node of this machine ------------------------------------------------------------------


@dataclass(frozen=True)
class _Control:
    """rabbitmqctl against the node that the environment names. One call makes many vhosts."""

    environment: dict[str, str]
    command: str | None

    def run(self, *arguments: str) -> str:
        if self.command is None:
            raise NoRabbitMQ("rabbitmqctl is not installed")
        command = [self.command, *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise NoRabbitMQ(f"rabbitmqctl {arguments[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def works(self) -> bool:
        try:
            self.run("eval", "ok.")
        except (NoRabbitMQ, OSError, subprocess.SubprocessError):
            return False
        return True

    def _each(self, names: list[str], body: str) -> None:
        listed = ",".join(f'<<"{name}">>' for name in names)
        self.run("eval", f"lists:foreach(fun(V) -> {body} end, [{listed}]).")

    def add(self, names: list[str]) -> None:
        rights = '<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"guest">>'
        self._each(
            names,
            f'rabbit_vhost:add(V, <<"guest">>), rabbit_auth_backend_internal:set_permissions({rights})',
        )

    def remove(self, names: list[str]) -> None:
        self._each(names, 'rabbit_vhost:delete(V, <<"guest">>)')

    def define(self, definitions: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(definitions, file)
            file.flush()
            Path(file.name).chmod(0o644)  # the server may be another user
            self.run("import_definitions", file.name)

    def trace(self, vhost: str) -> None:
        self.run("trace_on", "-p", vhost)


def _install() -> None:
    """Debian's package, without letting it start a server of its own."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise NoRabbitMQ("rabbitmq-server is not installed (and only root with apt-get could install it)")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "rabbitmq-server"]):
            command = [apt, "-q", *arguments]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=900, check=False
            )
            if done.returncode:
                raise NoRabbitMQ(f"apt-get {arguments[0]} failed: {done.stderr[-500:]}")
    finally:
        if ours:
            policy.unlink()


def own_directory() -> Path:
    """A directory for the private node. Whoever owns the test run makes it, before workers start."""
    given = os.environ.get(DIRECTORY_VARIABLE)
    if given is None:
        given = os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="haypile-rabbitmq-")
        Path(given, "owner").write_text(str(os.getpid()))
    return Path(given)


def _by_system() -> Broker:
    directory = own_directory()
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker starts it, the others wait here
        if not (directory / "ready.json").exists():
            if server_command("rabbitmq-server") is None:
                _install()
            _start_keeper(directory)
    told = json.loads((directory / "ready.json").read_text())
    control = _Control(dict(os.environ) | told["environment"], server_command("rabbitmqctl"))
    url = f"amqp://guest:guest@127.0.0.1:{told['port']}"
    ways = (control.add, control.remove, control.define, control.trace)
    return Broker("system", url, *ways, told["environment"], {told["keeper"]})


def _start_keeper(directory: Path) -> None:
    owner = (directory / "owner").read_text()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.support.keeper", str(directory), owner],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + START_SECONDS + 5
    while not (directory / "ready.json").exists():
        failed = directory / "failed"
        if failed.exists() or keeper.poll() is not None or time.monotonic() > deadline:
            why = failed.read_text() if failed.exists() else "its keeper ended"
            stop_own_server()
            raise NoRabbitMQ(why)
        time.sleep(0.05)


def stop_own_server() -> None:
    """End the private node, if this process owns one; returns when it is gone, epmd and all."""
    directory = Path(os.environ.get(DIRECTORY_VARIABLE, ""))
    owner = directory / "owner"
    if not owner.is_file() or owner.read_text() != str(os.getpid()):
        return
    del os.environ[DIRECTORY_VARIABLE]
    ready = directory / "ready.json"
    if ready.exists():
        pid = json.loads(ready.read_text())["keeper"]
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pid = 0
        deadline = time.monotonic() + 20
        while pid and directory.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    shutil.rmtree(directory, ignore_errors=True)


def definitions_of(vhost: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """``definitions`` with each entry in ``vhost``."""
    return {kind: [{**one, "vhost": vhost} for one in entries] for kind, entries in definitions.items()}


# -- which of them -------------------------------------------------------------------------------------------


def docker_answers() -> bool:
    """Whether a docker engine with the compose plugin can be used."""
    if shutil.which("docker") is None:
        return False
    for arguments in (["info"], ["compose", "version"]):
        try:
            done = subprocess.run(["docker", *arguments], capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        if done.returncode:
            return False
    return True


def get_broker(docker: Callable[[], tuple[str, str]] | None = None) -> Broker:
    """A RabbitMQ by the first way that works.

    Args:
        docker: starts the compose service, returns its AMQP URL and the URL of its management API.

    Raises:
        NoRabbitMQ: with each way's reason.
    """
    wanted = os.environ.get(WAY_VARIABLE)
    url = os.environ.get(URL_VARIABLE)
    if url and wanted in (None, "url"):
        return _by_url(url, os.environ.get(API_VARIABLE), "url")
    reasons = [f"{URL_VARIABLE} is not set"]
    if docker is not None and wanted in (None, "docker"):
        if docker_answers():
            url, api = docker()
            return _by_url(url, api, "docker")
        reasons.append("no docker engine with compose answers")
    if wanted in (None, "system"):
        try:
            return _by_system()
        except (NoRabbitMQ, OSError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
    raise NoRabbitMQ("; ".join(_one_line(reason) for reason in reasons))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def in_ci(environment: Iterable[str] | None = None) -> bool:
    """Whether a missing RabbitMQ is a failure: CI systems set CI."""
    return bool(os.environ.get("CI")) if environment is None else "CI" in environment

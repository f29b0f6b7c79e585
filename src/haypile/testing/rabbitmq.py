"""Making and removing vhosts of a RabbitMQ, for tests.

Owns: the two ways: the management plugin's HTTP API, and rabbitmqctl for a server of this machine.
Must not know: what the vhosts are for. It is imported by the keeper, too, so it imports nothing of haypile.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

#: Where the management API is, when it is not on port 15672 of the server's host.
API_VARIABLE = "HAYPILE_TEST_AMQP_API"
_HERE = ("localhost", "127.0.0.1", "::1")


class NoRabbitMQ(Exception):
    """There is no RabbitMQ to make vhosts in; the text says why, and what to do."""


class Server:
    """A RabbitMQ at an AMQP URL."""

    def __init__(self, url: str, api: str | None = None) -> None:
        """``api``: the management API's address."""
        parts = urlsplit(url)
        self.host = parts.hostname or "localhost"
        self.port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        self.user, self.password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self.plain = f"{parts.scheme}://{parts.netloc}"
        self.api = (api or f"http://{self.host}:15672").rstrip("/")

    def url_of(self, vhost: str) -> str:
        """The AMQP URL of ``vhost``."""
        return f"{self.plain}/{quote(vhost, safe='')}"

    def add(self, vhost: str) -> None:
        """Make ``vhost``, all rights in it for the URL's user. Raises NoRabbitMQ."""
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        calls = [("PUT", f"vhosts/{vhost}", None), ("PUT", f"permissions/{vhost}/{quote(self.user)}", rights)]
        name, user = f'<<"{vhost}">>', f'<<"{self.user}">>'
        every = '<<".*">>, <<".*">>, <<".*">>'
        self._do(
            calls,
            f"rabbit_vhost:add({name}, {user}), "
            f"rabbit_auth_backend_internal:set_permissions({user}, {name}, {every}, {user}).",
        )

    def remove(self, vhost: str) -> None:
        """Remove ``vhost``. Raises NoRabbitMQ."""
        self._do([("DELETE", f"vhosts/{vhost}", None)], f'rabbit_vhost:delete(<<"{vhost}">>, <<"{self.user}">>).')

    def _do(self, calls: Sequence[tuple[str, str, object]], erlang: str) -> None:
        try:
            for method, path, body in calls:
                self._call(method, path, body)
        except urllib.error.HTTPError as error:
            raise NoRabbitMQ(f"{self.api} refused {error.url}: {error}") from error
        except (urllib.error.URLError, OSError) as error:
            self._control(erlang, error)

    def _call(self, method: str, path: str, body: object) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/api/{path}", data, method=method)
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20):
            pass

    def _control(self, erlang: str, error: Exception) -> None:
        command = shutil.which("rabbitmqctl")
        why = f"the management API at {self.api} does not answer ({error})"
        if self.host not in _HERE or command is None:
            raise NoRabbitMQ(
                f"no vhost can be made in the RabbitMQ at {self.host}: {why}, and rabbitmqctl cannot be used; "
                f"turn on rabbitmq_management there, or say where its API is with {API_VARIABLE}"
            ) from error
        # It may reach another server of this machine than the URL does: the sixth part of a listener is its port.
        same = f"lists:any(fun(L) -> element(6, L) =:= {self.port} end, rabbit_networking:active_listeners())"
        erlang = f"case {same} of true -> {erlang[:-1]}; false -> error(other_server) end."
        done = subprocess.run([command, "eval", erlang], capture_output=True, text=True, timeout=60, check=False)
        if "other_server" in done.stdout + done.stderr:
            raise NoRabbitMQ(
                f"{why}, and rabbitmqctl reaches another server than the one on port {self.port}; set its "
                f"RABBITMQ_NODENAME, or say where the management API is with {API_VARIABLE}"
            ) from error
        if done.returncode:
            raise NoRabbitMQ(f"{why}, and rabbitmqctl failed: {done.stdout}{done.stderr}") from error

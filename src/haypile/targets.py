"""Where a connection goes: kernel queues of this host, or a RabbitMQ.

Owns: the host rule, URLs, ``HAYPILE_URL``, where state lives, how vhosts name directories.
Must not know: how either is reached.

The host decides: ``localhost``, a loopback address or no host is this machine's kernel; any other
host is the RabbitMQ there. A URL says it outright (``posix:///VHOST``, ``amqp://…``), and
``HAYPILE_URL`` (or ``haypile run --url``) overrides both for every connection of the program.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pika
from pika import exceptions

from haypile.broker.ports import VhostTarget

#: Schemes of kernel queues, and of a RabbitMQ.
LOCAL = ("posix", "sysv")
REMOTE = ("amqp", "amqps")

#: Options that a local URL may carry, with what they may be (empty: anything).
OPTIONS = {"durability": ("disk", "host"), "dir": (), "mode": (), "group": ()}

URL_VARIABLE = "HAYPILE_URL"
DIRECTORY_VARIABLE = "HAYPILE_DIR"

#: Longest encoded vhost name that is a directory name by itself (NAME_MAX is 255 on Linux).
LONGEST_NAME = 200


class TargetError(exceptions.AMQPConnectionError):  # type: ignore[misc]
    """A connection that goes nowhere: the text says why, and what to do."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@dataclass(frozen=True)
class LocalURL:
    """``posix:///VHOST?durability=host``."""

    transport: str
    #: None: the connection's own virtual_host counts.
    vhost: str | None
    options: dict[str, str] = field(default_factory=dict, hash=False)


def base_directory() -> Path:
    """Where this user's vhosts live."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "haypile"
    return Path(f"/dev/shm/haypile-{os.getuid()}")


def vhost_directory(base: Path, vhost: str, transport: str = "posix") -> Path:
    """The directory of ``vhost``: one for each name, whatever is in it.

    Raises TargetError for a name that cannot be one.
    """
    if "\0" in vhost:
        raise TargetError(f"virtual host {vhost!r} contains a NUL character; choose a name without one")
    if len(vhost.encode()) > 255:
        raise TargetError(f"virtual host {vhost[:40]!r}… is longer than 255 bytes; choose a shorter name")
    name = quote(vhost, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
    if len(name) > LONGEST_NAME:
        # Split into nested directories: the encoding stays one-to-one.
        parts = [name[i : i + LONGEST_NAME] for i in range(0, len(name), LONGEST_NAME)]
        name = "~/".join(parts)
    return base / transport / name


def parse_local(url: str) -> LocalURL | None:
    """The parts of a local URL; None for a URL of a RabbitMQ.

    Raises TargetError for any other.
    """
    parts = urlsplit(url)
    if parts.scheme in REMOTE:
        return None
    if parts.scheme not in LOCAL:
        raise TargetError(
            f"{url!r} has the unknown scheme {parts.scheme!r}; use posix:///VHOST for kernel queues on this "
            "host, or amqp://USER:PASSWORD@HOST/VHOST for a RabbitMQ"
        )
    if parts.netloc and not is_local(parts.hostname):
        raise TargetError(
            f"{url!r} names the host {parts.hostname!r}, but kernel queues are on this host only; write "
            f"{parts.scheme}:///VHOST with three slashes"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        allowed = OPTIONS.get(name)
        if allowed is None:
            raise TargetError(f"{url!r} has the unknown option {name!r}; known are {', '.join(OPTIONS)}")
        if allowed and value not in allowed:
            raise TargetError(f"{url!r}: {name} is {value!r}, but must be one of {', '.join(allowed)}")
    vhost = unquote(parts.path[1:]) if len(parts.path) > 1 else None
    return LocalURL(parts.scheme, vhost, options)


def is_local(host: str | None) -> bool:
    """Whether ``host`` is this machine, by the name it is called."""
    if not host or host.lower() in ("localhost", "localhost.localdomain", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def resolve(parameters: pika.connection.Parameters) -> VhostTarget | pika.connection.Parameters:
    """Where a connection with ``parameters`` goes: a vhost here, or the RabbitMQ they describe.

    Raises TargetError.
    """
    url = os.environ.get(URL_VARIABLE) or getattr(parameters, "haypile_url", None)
    if url:
        local = parse_local(url)
        if local is None:
            return remote(url, parameters)
        return local_target(local, parameters.virtual_host)
    if is_local(parameters.host):
        return local_target(LocalURL("posix", None), parameters.virtual_host)
    return parameters


def remote(url: str, parameters: pika.connection.Parameters) -> pika.connection.Parameters:
    """Parameters for the RabbitMQ at ``url``; a URL without a vhost leaves the program's."""
    found = pika.URLParameters(url)
    if urlsplit(url).path in ("", "/"):
        found.virtual_host = parameters.virtual_host
    return found


def local_target(url: LocalURL, virtual_host: str) -> VhostTarget:
    """The vhost that ``url`` and the program's ``virtual_host`` name."""
    if url.transport == "sysv":
        raise TargetError("sysv:/// is not available in this version; use posix:///")
    vhost = url.vhost if url.vhost is not None else virtual_host
    base = Path(url.options["dir"]) if url.options.get("dir") else base_directory()
    return VhostTarget(
        directory=vhost_directory(base, vhost, url.transport),
        vhost=vhost,
        transport=url.transport,
        durability=url.options.get("durability", "disk"),
        options=dict(url.options),
    )

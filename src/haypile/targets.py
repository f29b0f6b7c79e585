"""Where a connection goes: kernel queues of this host, or a RabbitMQ.

Owns: the host rule, URLs, ``HAYPILE_URL``, where state lives, how vhosts name directories.
Must not know: how either is reached.

The host decides: ``localhost``, a loopback address or no host is this machine's kernel; any other
host is the RabbitMQ there. A URL says it outright (``posix:///VHOST``, ``amqp://…``), and
``HAYPILE_URL`` (or ``haypile run --url``) overrides both for every connection of the program.
"""

from __future__ import annotations

import copy
import functools
import grp
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import pika.connection
from pika import exceptions
from pika.connection import Parameters

from haypile.broker.ports import CONSUMER_TIMEOUT, LOOK, VhostTarget
from haypile.launch import URL_VARIABLE as URL_VARIABLE

#: pika's own, whatever ``swap`` puts there later.
PikaURLParameters: Any = pika.connection.URLParameters

#: Kernel queues; schemes of what begins there, and of a RabbitMQ.
KERNEL = ("posix", "sysv")
LOCAL = (*KERNEL, "hybrid")
REMOTE = ("amqp", "amqps")
#: Some names here (POSIX queues), some on a RabbitMQ; and the option of a target that says by which file.
HYBRID, ROUTES = "hybrid", "routes"

#: Options that a local URL may carry.
OPTIONS = ("dir", "durability", "group")
#: What becomes of persistent messages when the host goes down.
DURABILITIES = ("disk", "host")

DIRECTORY_VARIABLE = "HAYPILE_DIR"
TIMEOUT_VARIABLE = "HAYPILE_CONSUMER_TIMEOUT"
LOOK_VARIABLE = "HAYPILE_LOOK"
JOURNAL_VARIABLE = "HAYPILE_JOURNAL_DIR"
#: The routes file: where it is, else what it is called in the directory of the program's start.
FILE_VARIABLE = "HAYPILE_ROUTES"
FILE_NAME = "haypile.toml"

#: Longest part of an encoded vhost name (NAME_MAX is 255 on Linux).
LONGEST_NAME = 200
#: Longest vhost name, bytes: what Connection.Open has room for (AMQP 0-9-1, short string).
LONGEST_VHOST = 255

#: What decides where vhosts and journals are, beside the user and the working directory (``local_target``).
_SURROUNDINGS = (
    DIRECTORY_VARIABLE,
    TIMEOUT_VARIABLE,
    LOOK_VARIABLE,
    JOURNAL_VARIABLE,
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "HOME",
)

#: Names of this machine beside its loopback addresses.
LOCAL_NAMES = ("localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost")


class TargetError(exceptions.AMQPConnectionError):  # type: ignore[misc]
    """A connection that goes nowhere: the text says why, and what to do."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class LocalOptions(NamedTuple):
    """The query of a local URL."""

    #: Where the vhosts live, instead of ``HAYPILE_DIR``.
    directory: Path | None = None
    #: "disk": persistent messages survive a reboot; "host": only the death of processes.
    durability: str = "disk"
    #: Id of the group whose members share the vhost; None: it is this user's alone.
    group: int | None = None


class LocalURL(NamedTuple):
    """``posix:///VHOST?durability=host``."""

    transport: str
    #: None: the connection's own virtual_host counts.
    vhost: str | None
    options: LocalOptions = LocalOptions()


def base_directory(group: int | None = None) -> Path:
    """Where this user's vhosts live, or those of ``group``."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    if group is not None:
        return Path(f"/dev/shm/haypile-g-{group}")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "haypile"
    return Path(f"/dev/shm/haypile-{os.getuid()}")


def journal_directory() -> Path:
    """Where this user's journals live: on a disk, where the vhosts mostly are not."""
    named = os.environ.get(JOURNAL_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME")
    # Where there is no home, "~" is found not to be writable, and said so.
    return Path(state or os.path.expanduser("~/.local/state")).absolute() / "haypile"


def encoded(name: str) -> str:
    """``name`` as a path of its own: one for each name, whatever is in it."""
    # Dots would make "." and ".."; "~" marks a name that goes on; "%" alone is the name without letters.
    name = quote(name, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
    return "~/".join(name[i : i + LONGEST_NAME] for i in range(0, len(name), LONGEST_NAME))


class Found(NamedTuple):
    """The directory of a vhost. Whether there is a store in it is for others to see."""

    transport: str
    name: str
    directory: Path


def found_vhosts(base: Path) -> Iterator[Found]:
    """The directories of vhosts below ``base``, by transport and name (see ``vhost_directory``).

    No vhost is entered: what is in them comes and goes meanwhile. Raises OSError where it may not be looked.
    """
    for transport in KERNEL:
        for name, directory in _named(base / transport, ""):
            yield Found(transport, "" if name == "%" else unquote(name), directory)


def _named(place: Path, begun: str) -> Iterator[tuple[str, Path]]:
    """The directories in ``place``, with their encoded names, which began with ``begun``."""
    try:
        entries = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return  # none was ever made, or the last one went just now
    for entry in entries:
        if entry.endswith("~"):
            yield from _named(place / entry, begun + entry[:-1])
        elif not entry.startswith(".") and (place / entry).is_dir():
            yield begun + entry, place / entry


def vhost_directory(base: Path, vhost: str, transport: str = "posix") -> Path:
    """The directory of ``vhost``: one for each name, whatever is in it.

    Raises TargetError for a name that cannot be one.
    """
    if "\0" in vhost:
        raise TargetError(f"virtual host {vhost!r} contains a NUL character; choose a name without one")
    try:
        length = len(vhost.encode())
    except UnicodeEncodeError:
        raise TargetError(f"virtual host {vhost!r} is not valid Unicode; choose another name") from None
    if length > LONGEST_VHOST:
        raise TargetError(f"virtual host {vhost[:40]!r}… is longer than {LONGEST_VHOST} bytes; choose a shorter name")
    return base / transport / encoded(vhost)


def parse_local(url: str) -> LocalURL | None:
    """The parts of a local URL; None for a URL of a RabbitMQ.

    Raises TargetError for any other.
    """
    try:
        parts = urlsplit(url)
        host, query = parts.hostname, parse_qs(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise TargetError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme in REMOTE:
        return None
    if parts.scheme not in LOCAL or not url[len(parts.scheme) :].startswith("://"):
        raise TargetError(
            f"{url!r} has the unknown scheme {parts.scheme!r}; use posix:///VHOST for kernel queues on this "
            "host, or amqp://USER:PASSWORD@HOST/VHOST for a RabbitMQ"
        )
    if not is_local(host):
        raise TargetError(
            f"{url!r} names the host {host!r}, but kernel queues are on this host only; write "
            f"{parts.scheme}:///VHOST with three slashes"
        )
    if "/" in parts.path[1:]:
        raise TargetError(f"{url!r}: the virtual host is one part of the path; write %2F for a slash in it")
    vhost = unquote(parts.path[1:], errors="strict") if len(parts.path) > 1 else None
    return LocalURL(parts.scheme, vhost, parse_options(url, query))


def parse_options(url: str, query: dict[str, list[str]]) -> LocalOptions:
    """The options in the query of a local URL. Raises TargetError."""
    for name, values in query.items():
        if name not in OPTIONS:
            raise TargetError(f"{url!r} has the unknown option {name!r}; known are {', '.join(OPTIONS)}")
        if len(values) > 1:
            raise TargetError(f"{url!r} has the option {name!r} {len(values)} times; give it once")
    durability = query.get("durability", ["disk"])[0]
    if durability not in DURABILITIES:
        raise TargetError(f"{url!r}: durability is {durability!r}, but must be one of {', '.join(DURABILITIES)}")
    directory = query.get("dir", [""])[0]
    if "dir" in query and not directory:
        raise TargetError(f"{url!r}: dir is empty; name a directory, or leave it out")
    group = find_group(url, query["group"][0]) if "group" in query else None
    return LocalOptions(Path(directory).expanduser().absolute() if directory else None, durability, group)


def find_group(url: str, said: str) -> int:
    """The id of the group called ``said``, by name or number. Raises TargetError."""
    try:
        group = int(said) if said.isdecimal() else grp.getgrnam(said).gr_gid
    except KeyError:
        raise TargetError(f"{url!r}: there is no group {said!r} on this host") from None
    if os.geteuid() != 0 and group not in (os.getegid(), *os.getgroups()):
        raise TargetError(
            f"{url!r}: user {os.geteuid()} is not in group {said!r}; add it (usermod -aG), and log in anew"
        )
    return group


def is_local(host: str | None) -> bool:
    """Whether ``host`` is this machine, by the name it is called."""
    if not host or host.lower().rstrip(".") in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def resolve(parameters: Parameters) -> VhostTarget | Parameters:
    """Where a connection with ``parameters`` goes: a vhost here, or the RabbitMQ they describe.

    Raises TargetError.
    """
    url = os.environ.get(URL_VARIABLE)
    if url and not getattr(parameters, "outright", False):
        local = parse_local(url)
        return remote(url, parameters) if local is None else local_target(local, parameters.virtual_host)
    if isinstance(parameters, PikaURLParameters):
        local = getattr(parameters, "local_url", None)
        return parameters if local is None else local_target(local, parameters.virtual_host)
    if is_local(parameters.host):
        kind = "posix" if find_routes() is None else HYBRID
        return local_target(LocalURL(kind, None), parameters.virtual_host)
    return parameters


def remote(url: str, parameters: Parameters) -> Parameters:
    """``parameters`` led to the RabbitMQ at ``url``.

    What the URL does not say (vhost, credentials, heartbeat …) stays as the program has it. Raises
    TargetError for a URL that pika does not understand.
    """
    parts = urlsplit(url)
    try:
        found = PikaURLParameters(url)
    except Exception as error:
        # pika raises many kinds; the URL may hold a password.
        raise TargetError(f"{URL_VARIABLE} is no URL that pika understands: {error}") from error
    led = copy.copy(parameters)
    said = ["host", "port", "ssl_options", *parse_qs(parts.query)]
    if parts.username is not None:
        said.append("credentials")
    if len(parts.path) > 1:
        said.append("virtual_host")
    for name in said:
        setattr(led, name, getattr(found, name))
    return led


def local_target(url: LocalURL, virtual_host: str) -> VhostTarget:
    """The vhost that ``url`` and the program's ``virtual_host`` name."""
    if url.transport == HYBRID:
        return find_target(url, virtual_host)
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    return _known_target(url, virtual_host, os.getuid(), here, *map(os.environ.get, _SURROUNDINGS))


@functools.lru_cache(maxsize=16)
def _known_target(url: LocalURL, virtual_host: str, *surroundings: object) -> VhostTarget:
    """``find_target``, which takes a tenth of an opening; ``surroundings``: what else it looks at."""
    return find_target(url, virtual_host)


def find_target(url: LocalURL, virtual_host: str) -> VhostTarget:
    """The same, looked for anew."""
    vhost = url.vhost if url.vhost is not None else virtual_host
    group = url.options.group
    base = url.options.directory or base_directory(group)
    transport, options = url.transport, {}
    if transport == HYBRID:
        routes = find_routes()
        if routes is None:
            raise TargetError(f"{HYBRID}:/// needs a routes file: set {FILE_VARIABLE}, or write {FILE_NAME} here")
        transport, options = "posix", {ROUTES: str(routes)}
    journals: Path | None = journal_directory()
    if group is not None and not os.environ.get(JOURNAL_VARIABLE):
        # This user's own is no place for what others are to write.
        journals = None
        if url.options.durability == "disk":
            raise TargetError(
                f"the journal of a vhost shared with a group belongs where all its members may write: set "
                f"{JOURNAL_VARIABLE} to a directory on a disk, the same for all of them, or add durability=host to the "
                "URL (nothing survives a reboot then)"
            )
    return VhostTarget(
        directory=vhost_directory(base, vhost, transport),
        vhost=vhost,
        transport=transport,
        options=options,
        durability=url.options.durability,
        # Vhosts of the same name in two places are two vhosts.
        journal=journals and vhost_directory(journals / encoded(str(base)), vhost, transport),
        base=base,
        journal_base=journals,
        consumer_timeout=from_environment(TIMEOUT_VARIABLE, "milliseconds", CONSUMER_TIMEOUT),
        look=from_environment(LOOK_VARIABLE, "microseconds", LOOK),
        group=group,
    )


def find_routes() -> Path | None:
    """The routes file that holds for this process; None: there is none. Raises TargetError."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise TargetError(f"{FILE_VARIABLE} names {named!r}, but there is no such file")
        return path
    path = Path(FILE_NAME).absolute()
    # Not pathlib's is_file: it raises where this user may not look, as in a daemon's working directory.
    return path if os.path.isfile(path) else None


def outright(target: VhostTarget) -> str:
    """The URL of ``target``, from which ``local_target`` makes it again."""
    name = encoded(target.vhost)
    base = target.directory.parents[len(Path(name).parts)]
    options: dict[str, object] = {"dir": base, "durability": target.durability}
    if target.group is not None:
        options["group"] = target.group
    return f"{target.transport}:///{quote(target.vhost, safe='')}?{urlencode(options)}"


def from_environment(variable: str, unit: str, default: int) -> int:
    """What ``variable`` says. Raises TargetError."""
    said = os.environ.get(variable)
    if not said:
        return default
    if not said.isdecimal():
        raise TargetError(f"{variable} is {said!r}, but must be a number of {unit}")
    return int(said)

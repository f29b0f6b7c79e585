"""Routes: which names live here and which on a RabbitMQ, and the links between them.

Owns: the routes file (``HAYPILE_ROUTES``, else ``haypile.toml`` where the program was started), its rules and the
reasons it gives.
Must not know: connections.

The first rule that matches a name holds; a name that none matches lives here. A password is written in the file
or, better, taken from the environment: ``url = "${CENTRAL_URL}"``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from haypile.links.plan import InvalidPlan, Place, Plan
from haypile.parameters import URLParameters
from haypile.targets import REMOTE, PikaURLParameters, TargetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("queue", "exchange")
#: What a rule says for "on this host".
HERE = "here"


@dataclass(frozen=True)
class Rule:
    """Names that match one of ``patterns`` live at ``to``."""

    number: int
    patterns: tuple[str, ...]
    #: Name of a RabbitMQ; None: here.
    to: str | None
    #: "queue" or "exchange": for these only; None: for both.
    kind: str | None = None
    #: Publishing succeeds here while the RabbitMQ is away.
    buffered: bool = False

    def matching(self, kind: str, name: str) -> str | None:
        """The pattern that matches, if one does."""
        if self.kind not in (None, kind):
            return None
        return next((pattern for pattern in self.patterns if fnmatchcase(name, pattern)), None)


@dataclass(frozen=True)
class Routes:
    """A routes file that was read and checked."""

    path: Path
    #: URLs by name of the RabbitMQ; with passwords, so never shown.
    remotes: dict[str, str]
    rules: tuple[Rule, ...]
    links: tuple[Plan, ...]

    def rule_for(self, kind: str, name: str) -> Rule | None:
        """The rule that holds for queue or exchange ``name``; None: none does, it lives here."""
        if not name or name.startswith(("amq.gen-", "amq.rabbitmq.reply-to", "haypile.")):
            return None  # named by a server, or by haypile: where they are made
        return next((rule for rule in self.rules if rule.matching(kind, name) is not None), None)

    def explain(self, kind: str, name: str) -> str:
        """Where it goes and why, for a person."""
        rule = self.rule_for(kind, name)
        if rule is None:
            return f"{kind} {name}: here (no rule matches)"
        where = "here" if rule.to is None else f"{rule.to} ({shown(self.remotes[rule.to])})"
        more = ", buffered" if rule.buffered else ""
        return f"{kind} {name}: {where}{more} (rule {rule.number}, {rule.matching(kind, name)!r})"

    def parameters(self, remote: str) -> URLParameters:
        """How to connect to a RabbitMQ by its name. Raises KeyError."""
        return URLParameters(self.remotes[remote], outright=True)


def shown(url: str) -> str:
    """``url`` without user and password."""
    # Not by urlunsplit: of posix:///shop it makes posix:/shop.
    scheme, sign, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{sign}{place.rpartition('@')[2]}{slash}{path}"


def load(path: Path) -> Routes:
    """Read and check ``path``. Raises TargetError that names the file, the place and what to do."""
    wrong: Callable[[str], TargetError] = partial(_wrong, path)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise wrong(str(error.strerror)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise wrong(str(error)) from error
    unknown = content.keys() - {"remotes", "routes", "links"}
    if unknown:
        raise wrong(f"unknown part {sorted(unknown)[0]!r}; there are remotes, routes and links")
    remotes = {name: _remote(wrong, name, entry) for name, entry in _table(wrong, content, "remotes").items()}
    rules = tuple(_rule(wrong, i + 1, one, remotes) for i, one in enumerate(_list(wrong, content, "routes")))
    links = tuple(_link(wrong, i + 1, one, remotes) for i, one in enumerate(_list(wrong, content, "links")))
    names = [link.name for link in links]
    for name in names:
        if names.count(name) > 1:
            raise wrong(f"two links are called {name!r}; give each a name of its own")
    return Routes(path, remotes, rules, links)


def _wrong(path: Path, text: str) -> TargetError:
    return TargetError(f"{path}: {text}")


def _table(wrong: Callable[[str], TargetError], content: dict[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise wrong(f"{name} must be tables: [{name}.NAME]")
    return found


def _list(wrong: Callable[[str], TargetError], content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise wrong(f"{name} must be a list of tables: [[{name}]]")
    return found


def _remote(wrong: Callable[[str], TargetError], name: str, entry: Any) -> str:
    where = f"remotes.{name}"
    if name == HERE:
        raise wrong(f"{where}: {HERE!r} means this host; choose another name")
    if not isinstance(entry, dict) or entry.keys() != {"url"} or not isinstance(entry["url"], str):
        raise wrong(f'{where} must say url = "amqp://…" and nothing else')

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise wrong(f"{where}: the environment variable {match[1]} is not set")
        return found

    url = re.sub(r"\$\{(\w+)\}", value, entry["url"])
    if urlsplit(url).scheme not in REMOTE:
        raise wrong(f"{where}: its url must begin with amqp:// or amqps://")
    try:
        PikaURLParameters(url)
    except Exception as error:
        # What pika says may hold the password.
        raise wrong(f"{where}: pika does not understand its url ({type(error).__name__})") from None
    return url


def _place(wrong: Callable[[str], TargetError], where: str, to: Any, remotes: dict[str, str]) -> str | None:
    if to == HERE:
        return None
    if to not in remotes:
        raise wrong(f"{where}: {to!r} is not among the remotes ({', '.join(remotes) or 'there are none'}) nor {HERE!r}")
    return str(to)


def _rule(wrong: Callable[[str], TargetError], number: int, entry: dict[str, Any], remotes: dict[str, str]) -> Rule:
    where = f"route {number}"
    unknown = entry.keys() - {"match", "to", "kind", "buffered"}
    if unknown:
        raise wrong(f"{where}: unknown key {sorted(unknown)[0]!r}; there are match, to, kind and buffered")
    patterns = entry.get("match")
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, list) or not patterns or not all(isinstance(one, str) and one for one in patterns):
        raise wrong(f'{where}: match must be a pattern or a list of them, as in match = "orders.*"')
    kind = entry.get("kind")
    if kind not in (None, *KINDS):
        raise wrong(f"{where}: kind is {kind!r}, but must be queue or exchange (leave it out for both)")
    to = _place(wrong, where, entry.get("to"), remotes)
    buffered = entry.get("buffered", False)
    if not isinstance(buffered, bool) or (buffered and to is None):
        raise wrong(f"{where}: buffered must be true or false, and only what goes to a RabbitMQ can be")
    return Rule(number, tuple(patterns), to, kind, buffered)


def _link(wrong: Callable[[str], TargetError], number: int, entry: dict[str, Any], remotes: dict[str, str]) -> Plan:
    where = f"link {entry.get('name', number)!r}"
    unknown = entry.keys() - {"name", "from", "to", "window", "unroutable"}
    if unknown:
        raise wrong(f"{where}: unknown key {sorted(unknown)[0]!r}; there are name, from, to, window and unroutable")
    ends = []
    for end in ("from", "to"):
        table = entry.get(end)
        if not isinstance(table, dict):
            raise wrong(f'{where}: {end} must be a table, as in {end} = {{ queue = "readings" }}')
        allowed = {"remote", "queue"} if end == "from" else {"remote", "queue", "exchange", "routing_key"}
        if table.keys() - allowed:
            raise wrong(f"{where}: unknown key {sorted(table.keys() - allowed)[0]!r} in {end}")
        if not all(isinstance(value, str) for value in table.values()):
            raise wrong(f"{where}: what {end} says must be text")
        remote = _place(wrong, where, table.get("remote", HERE), remotes)
        ends.append(Place(**{**table, "remote": remote}))
    more = {key: entry[key] for key in ("window", "unroutable") if key in entry}
    try:
        return Plan(str(entry.get("name", "")), ends[0], ends[1], **more)
    except InvalidPlan as error:
        raise wrong(str(error)) from error

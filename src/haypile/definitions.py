"""RabbitMQ's definitions: the JSON of ``rabbitmqctl export_definitions``, read and written.

Owns: the shape of that file, and which objects of a vhost belong in it.
Must not know: how a vhost is opened, files, the command line.

Users, passwords and permissions are not haypile's (the kernel knows who we are): they are written as empty
lists and passed over when read. Exclusive queues and predeclared exchanges are left out, as RabbitMQ does.
https://www.rabbitmq.com/docs/definitions; rabbit_definitions.erl
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pika import exceptions

from haypile.broker.exchanges import PREDECLARED
from haypile.broker.policies import HIDDEN, Policy
from haypile.broker.topology import Topology

#: What RabbitMQ's import wants to read; the version haypile is compared with.
VERSION = "3.10.8"

Definitions = dict[str, Any]


class InvalidDefinitions(ValueError):
    """This is no definitions file; the text says what is wrong with it."""


# -- writing ----------------------------------------------------------------------------------


def empty() -> Definitions:
    """Definitions of nothing."""
    parts = ("users", "vhosts", "permissions", "topic_permissions", "parameters", "global_parameters", "policies")
    versions: Definitions = {"rabbit_version": VERSION, "rabbitmq_version": VERSION}
    return versions | {part: [] for part in (*parts, "queues", "exchanges", "bindings")}


def add_vhost(definitions: Definitions, name: str, topology: Topology) -> None:
    """Add what vhost ``name`` consists of. ``topology`` is in step with its store."""
    definitions["vhosts"].append({"name": name, "limits": [], "metadata": {"description": "", "tags": []}})
    shown = {queue.name for queue in topology.queues.values() if not queue.exclusive_owner}
    shown -= {queue for queue in shown if queue.startswith(HIDDEN)}
    for queue in topology.queues.values():
        if queue.name in shown:
            definitions["queues"].append(
                {
                    "name": queue.name,
                    "vhost": name,
                    "type": queue.args.type,
                    "durable": queue.durable,
                    "auto_delete": queue.auto_delete,
                    "arguments": plain(queue.arguments),
                }
            )
    predeclared = {exchange for exchange, _, _ in PREDECLARED}
    for exchange in topology.exchanges.values():
        if exchange.name not in predeclared:
            definitions["exchanges"].append(
                {
                    "name": exchange.name,
                    "vhost": name,
                    "type": exchange.type,
                    "durable": exchange.durable,
                    "auto_delete": exchange.auto_delete,
                    "internal": exchange.internal,
                    "arguments": plain(exchange.arguments),
                }
            )
        definitions["bindings"].extend(bindings_of(name, topology, exchange.name, shown))
    policies = topology.policies
    definitions["policies"].extend({"vhost": name, **policy_entry(one)} for one in policies.ordinary.values())
    for one in policies.operator.values():
        entry = policy_entry(one)
        definitions["parameters"].append(
            {"component": "operator_policy", "name": entry.pop("name"), "value": entry, "vhost": name}
        )
    if policies.limits:
        definitions["parameters"].append(
            {"component": "vhost-limits", "name": "limits", "value": dict(policies.limits), "vhost": name}
        )


def bindings_of(vhost: str, topology: Topology, exchange: str, queues: set[str]) -> list[dict[str, Any]]:
    """The bindings of ``exchange`` to other exchanges and to those of ``queues``, in the order they came."""
    return [
        {
            "source": exchange,
            "vhost": vhost,
            "destination": binding.destination.name,
            "destination_type": "queue" if binding.destination.is_queue else "exchange",
            "routing_key": binding.key,
            "arguments": plain(binding.arguments),
        }
        for binding in topology.exchanges[exchange].bindings.values()
        if not binding.destination.is_queue or binding.destination.name in queues
    ]


def policy_entry(one: Policy) -> dict[str, Any]:
    """A policy as a definitions file has it."""
    return {
        "name": one.name,
        "pattern": one.pattern,
        "apply-to": one.apply_to,
        "definition": one.definition,
        "priority": one.priority,
    }


def plain(value: Any) -> Any:
    """An AMQP table without what JSON cannot say: bytes become text, times seconds."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    timestamp = getattr(value, "timestamp", None)
    return int(timestamp()) if callable(timestamp) else str(value)


# -- reading ----------------------------------------------------------------------------------


@dataclass
class Contents:
    """What a definitions file says of one vhost."""

    queues: list[dict[str, Any]] = field(default_factory=list)
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    bindings: list[dict[str, Any]] = field(default_factory=list)
    #: For ``broker.policies``: the same file with this vhost's policies and parameters only.
    rules: Definitions = field(default_factory=dict)


def parse(definitions: Any, default: str) -> dict[str, Contents]:
    """What ``definitions`` say, by vhost; entries that name none are for ``default``.

    Raises InvalidDefinitions.
    """
    if not isinstance(definitions, dict):
        raise InvalidDefinitions("these are no definitions of a RabbitMQ: not an object with queues, exchanges …")
    found: dict[str, Contents] = {}
    try:
        for one in definitions.get("vhosts", []):
            found.setdefault(one["name"], Contents())
        for part in ("exchanges", "queues", "bindings"):
            for one in definitions.get(part, []):
                getattr(found.setdefault(one.get("vhost", default), Contents()), part).append(one)
        for part in ("policies", "parameters"):
            for one in definitions.get(part, []):
                if part == "parameters" and one.get("component") not in ("operator_policy", "vhost-limits"):
                    continue
                vhost = one.get("vhost", default)
                rules = found.setdefault(vhost, Contents()).rules
                rules.setdefault(part, []).append(_mended({"vhost": vhost, **one}))
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidDefinitions(f"these are no definitions of a RabbitMQ: {error!r}") from error
    return found


def _mended(entry: dict[str, Any]) -> dict[str, Any]:
    """RabbitMQ 3.10 writes the definitions of operator policies and limits as lists of pairs."""
    value = entry.get("value")
    if isinstance(value, list):
        return {**entry, "value": _table(value)}
    if isinstance(value, dict) and isinstance(value.get("definition"), list):
        return {**entry, "value": {**value, "definition": _table(value["definition"])}}
    return entry


def _table(pairs: list[Any]) -> dict[str, Any]:
    return {pair[0]: pair[1] for pair in pairs}


def declare(contents: Contents, connection: Any, on_step: Callable[[], None]) -> list[str]:
    """Declare exchanges, queues and bindings over a blocking pika connection.

    ``on_step`` is called for each. Returns what was refused, a sentence each; the rest is done.
    """
    refused: list[str] = []
    channel = connection.channel()
    steps = [
        *((f"exchange {one['name']!r}", _exchange, one) for one in contents.exchanges),
        *((f"queue {one['name']!r}", _queue, one) for one in contents.queues),
        *((f"binding of {one['source']!r} to {one['destination']!r}", _binding, one) for one in contents.bindings),
    ]
    for what, step, entry in steps:
        try:
            step(channel, entry)
        except exceptions.ChannelClosedByBroker as error:
            refused.append(f"{what}: {error.reply_code} {error.reply_text}")
            channel = connection.channel()
        on_step()
    if channel.is_open:
        channel.close()
    return refused


def _exchange(channel: Any, entry: dict[str, Any]) -> None:
    channel.exchange_declare(
        entry["name"],
        entry["type"],
        durable=entry.get("durable", True),
        auto_delete=entry.get("auto_delete", False),
        internal=entry.get("internal", False),
        arguments=entry.get("arguments") or None,
    )


def _queue(channel: Any, entry: dict[str, Any]) -> None:
    arguments = dict(entry.get("arguments") or {})
    if entry.get("type", "classic") != "classic":
        arguments.setdefault("x-queue-type", entry["type"])
    channel.queue_declare(
        entry["name"],
        durable=entry.get("durable", True),
        auto_delete=entry.get("auto_delete", False),
        arguments=arguments or None,
    )


def _binding(channel: Any, entry: dict[str, Any]) -> None:
    if not entry["source"]:
        return  # the default exchange's bindings make themselves
    bind = channel.exchange_bind if entry.get("destination_type") == "exchange" else channel.queue_bind
    bind(entry["destination"], entry["source"], entry.get("routing_key", ""), arguments=entry.get("arguments") or None)

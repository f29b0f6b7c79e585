"""Definitions: a RabbitMQ's own export becomes a vhost here, and goes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pika
import pytest

import haypile
from haypile import definitions
from tests.support.node import Node

pytestmark = pytest.mark.rabbitmq

PARTS = ("exchanges", "queues", "bindings", "policies", "parameters")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``haypile ARGUMENTS``."""
    return subprocess.run(
        [sys.executable, "-m", "haypile", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def said(text: str) -> dict[str, list[str]]:
    """What a file says of vhost "/", in an order that can be compared."""
    contents = definitions.parse(json.loads(text), "/")["/"]
    found: dict[str, list[Any]] = {part: getattr(contents, part) for part in PARTS[:3]}
    found |= {part: contents.rules.get(part, []) for part in PARTS[3:]}
    for exchange in found["exchanges"]:
        exchange.setdefault("internal", False)
    return {part: sorted(json.dumps(one, sort_keys=True) for one in entries) for part, entries in found.items()}


def make_topology(url: str) -> None:
    """Some of everything that AMQP can declare."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare("orders", "topic", durable=True, arguments={"alternate-exchange": "lost"})
        channel.exchange_declare("lost", "fanout", durable=True, internal=True)
        channel.exchange_declare("by size", "headers")
        channel.queue_declare("paid", durable=True, arguments={"x-max-length": 100, "x-dead-letter-exchange": "lost"})
        channel.queue_declare("safe", durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_declare("passing", auto_delete=True)
        channel.queue_declare("mine", exclusive=True)
        channel.queue_bind("paid", "orders", "*.paid")
        channel.queue_bind("safe", "orders", "#", {"reason": "all"})
        channel.queue_bind("passing", "by size", "", {"x-match": "any", "size": 3})
        channel.exchange_bind("orders", "amq.topic", "shop.#")


def test_a_brokers_topology_here_and_back(node: Node, state_directory: Path, tmp_path: Path) -> None:
    """rabbitmqctl export_definitions, import here, export, rabbitmqctl import_definitions: nothing changed."""
    make_topology(node.url)
    node.control("set_policy", "short", "^p", '{"max-length": 7}', "--apply-to", "queues", "--priority", "3")
    node.control("set_operator_policy", "bound", "^p", '{"max-length": 5}')
    node.control("set_vhost_limits", '{"max-queues": 90}')
    original = node.control("export_definitions", "-")
    (tmp_path / "in.json").write_text(original)

    done = command("definitions", "import", "--vhost", "/", str(tmp_path / "in.json"))
    assert done.returncode == 0, done.stderr
    exported = command("definitions", "export", str(tmp_path / "out.json"))
    assert exported.returncode == 0, exported.stderr
    out = (tmp_path / "out.json").read_text()
    assert said(out) == said(original)
    assert json.loads(out)["users"] == []

    # And back, to where none of it is.
    for queue in ("paid", "safe", "passing"):
        node.control("delete_queue", queue)
    node.control("clear_policy", "short")
    node.control("clear_operator_policy", "bound")
    (node.directory / "back.json").write_text(out)
    node.control("import_definitions", str(node.directory / "back.json"))
    assert said(node.control("export_definitions", "-")) == said(out)
    node.control("clear_vhost_limits")
    for queue in ("paid", "safe", "passing"):
        node.control("delete_queue", queue)


def test_what_differs_is_refused_by_name(state_directory: Path, tmp_path: Path) -> None:
    """The rest is imported, and the command says what is not."""
    connection = haypile.BlockingConnection(haypile.URLParameters("posix:///%2F"))
    connection.channel().queue_declare("there", durable=False)
    entries = [{"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}} for name in "ab"]
    entries.insert(1, {**entries[0], "name": "there"})
    (tmp_path / "in.json").write_text(json.dumps({"queues": entries}))
    done = command("definitions", "import", str(tmp_path / "in.json"))
    assert done.returncode == 1
    assert "queue 'there': 406 PRECONDITION_FAILED - inequivalent arg 'durable'" in done.stderr
    for name in "ab":
        connection.channel().queue_declare(name, passive=True)
    connection.close()


def test_a_file_that_is_none(state_directory: Path, tmp_path: Path) -> None:
    """It says so, and touches nothing."""
    (tmp_path / "in.json").write_text('{"queues": [{"durable": true, "vhost": 3}, 7]}')
    done = command("definitions", "import", str(tmp_path / "in.json"))
    assert done.returncode == 1 and "no definitions of a RabbitMQ" in done.stderr

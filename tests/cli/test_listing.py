"""``list``, ``vhosts``, ``reset``: what is there, and the end of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import haypile as pika
from haypile.cli.main import COMMANDS
from tests.cli.conftest import Call
from tests.support.vhosts import Vhost

BOTH = pytest.mark.parametrize("local_vhost", ["posix", "sysv"], indirect=True)


@pytest.fixture
def busy(local_vhost: Vhost, state_directory: Path) -> Any:
    """A vhost with a consumer that holds two messages of three, and a bound queue."""
    connection = pika.BlockingConnection(pika.URLParameters(local_vhost.url))
    channel = connection.channel()
    channel.queue_declare("tasks", arguments={"x-max-length": 9})
    channel.queue_declare("plain")
    channel.exchange_declare("logs", "topic")
    channel.queue_bind("plain", "logs", "a.#")
    channel.basic_qos(prefetch_count=2)
    got: list[Any] = []
    channel.basic_consume("tasks", lambda *message: got.append(message), consumer_tag="me")
    for number in range(3):
        channel.basic_publish("", "tasks", str(number))
    while len(got) < 2:
        connection.process_data_events(time_limit=1)
    yield local_vhost
    connection.close()


def rows(haypile: Call, vhost: Vhost, what: str) -> list[dict[str, Any]]:
    """The listing as JSON."""
    found: list[dict[str, Any]] = json.loads(haypile(vhost, "list", what, "--json").stdout)
    return found


@BOTH
def test_list(busy: Vhost, haypile: Call) -> None:
    plain, tasks = rows(haypile, busy, "queues")
    assert (plain["name"], plain["messages"], plain["consumers"], plain["state"]) == ("plain", 0, 0, "running")
    assert (tasks["messages"], tasks["messages_ready"], tasks["messages_unacknowledged"]) == (3, 1, 2)
    assert tasks["consumers"] == 1 and tasks["arguments"] == {"x-max-length": 9} and tasks["memory"] > 0
    assert {"name": "logs", "type": "topic"}.items() <= rows(haypile, busy, "exchanges")[-1].items()
    bound = rows(haypile, busy, "bindings")
    assert [(row["source_name"], row["destination_name"], row["routing_key"]) for row in bound] == [
        ("", "plain", "plain"),
        ("", "tasks", "tasks"),
        ("logs", "plain", "a.#"),
    ]
    (consumer,) = rows(haypile, busy, "consumers")
    assert (consumer["queue_name"], consumer["consumer_tag"], consumer["prefetch_count"]) == ("tasks", "me", 2)
    assert consumer["ack_required"] is True and consumer["active"] is True
    (connection,) = rows(haypile, busy, "connections")
    assert (connection["user"], connection["state"], connection["unacknowledged"]) == ("guest", "running", 2)


def test_tables(busy: Vhost, haypile: Call) -> None:
    lines = haypile(busy, "list", "queues", "tasks", "-c", "name,messages_ready,durable").stdout.splitlines()
    assert [line.split() for line in lines] == [["name", "messages_ready", "durable"], ["tasks", "1", "false"]]
    assert "there is nothing called 'nope'" in haypile(busy, "list", "queues", "nope", code=1).stderr
    assert "there are name, messages," in haypile(busy, "list", "queues", "-c", "x", code=2).stderr


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_what_amqp_cannot_tell_is_refused(make_vhost: Callable[[str], Vhost], haypile: Call) -> None:
    vhost = make_vhost("amqp")
    for what in ("queues", "exchanges", "bindings", "consumers", "connections"):
        done = haypile(vhost, "list", what, code=1)
        assert done.stderr == (
            f"Error: AMQP has no way to list {what} of a RabbitMQ; use rabbitmqctl list_{what} there\n"
        )
    assert "use rabbitmqctl delete_vhost there" in haypile(vhost, "reset", "--yes", code=1).stderr
    haypile(vhost, "declare", "queue", "tasks")
    haypile(vhost, "publish", "tasks", "x")
    (row,) = json.loads(haypile(vhost, "list", "queues", "tasks", "--json").stdout)
    assert row == {"name": "tasks", "messages_ready": 1, "consumers": 0}


@BOTH
def test_vhosts_and_reset(busy: Vhost, haypile: Call) -> None:
    (row,) = json.loads(haypile(busy, "vhosts", "--json").stdout)
    assert (row["transport"], row["name"], row["connections"]) == (busy.transport, "test1", 1)
    assert "has 1 connection; close them, or use --force" in haypile(busy, "reset", "--yes", code=1).stderr
    assert "say --yes" in haypile(busy, "reset", code=2).stderr
    assert len(rows(haypile, busy, "queues")) == 2


@BOTH
def test_reset(local_vhost: Vhost, haypile: Call) -> None:
    haypile(local_vhost, "declare", "queue", "tasks")
    haypile(local_vhost, "publish", "tasks", "x", "--persistent")
    assert "removed vhost 'test1'" in haypile(local_vhost, "reset", "--yes").stderr
    assert json.loads(haypile(local_vhost, "vhosts", "--json").stdout) == []
    assert rows(haypile, local_vhost, "queues") == []


def test_every_command_has_help(local_vhost: Vhost, haypile: Call) -> None:
    shown = haypile(local_vhost, "--help").stdout
    assert "list" in shown and "Exit codes" in shown.replace("Exit\n  codes", "Exit codes")
    for command in COMMANDS:
        assert f"  {command} " in shown
        assert "--help" in haypile(local_vhost, command, "--help").stdout
    assert "_HAYPILE_COMPLETE" in haypile(local_vhost, "completion", "bash").stdout
    assert "haypile, version" in haypile(local_vhost, "--version").stdout


def test_errors_are_one_line(local_vhost: Vhost, haypile: Call) -> None:
    done = haypile(local_vhost, "get", "tasks", "--url", "amqp://guest:guest@127.0.0.1:1/", code=1)
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert "unknown scheme 'http'" in haypile(local_vhost, "get", "tasks", "--url", "http://x", code=2).stderr
    assert "is not NAME=VALUE" in haypile(local_vhost, "publish", "a", "b", "-H", "x", code=2).stderr

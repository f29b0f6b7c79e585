"""Runs scenarios on a RabbitMQ or on haypile, and writes down what came back.

``python -m tests.texts.running amqp://guest:guest@127.0.0.1/VHOST NAME…`` runs scenarios (all of
them without names) on an empty vhost of a RabbitMQ and writes down in the record that
tests/texts/test_texts.py compares haypile with.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pika import spec

from tests.texts.scenarios import SCENARIOS
from tests.texts.steps import Step

RECORD = Path(__file__).with_name("rabbitmq.json")
_MADE = re.compile(r"amq\.(gen|ctag)-[\w-]{22}")


class Client(Protocol):
    """``Oracle`` and ``Local``."""

    def call(self, method: Any, properties: Any = None, body: bytes = b"") -> tuple[Any, ...]:
        """One method; what came back."""

    def turn(self) -> None:
        """Let what is under way arrive."""

    def close(self) -> None:
        """The end."""


Connect = Callable[[], Client]


def run(steps: list[Step], connect: Connect, vhost: str) -> list[Any]:
    """The replies to ``steps``, with everything random taken out."""
    clients = [connect(), connect()]
    try:
        replies = []
        for at, *call in steps:
            replies.append(plain(clients[at].call(*call), vhost))
            for client in clients:
                client.turn()
        return replies
    finally:
        clean(steps, clients[0])
        for client in clients:
            client.close()


def clean(steps: list[Step], client: Client) -> None:
    """Delete whatever the steps may have made."""
    methods = [step[1] for step in steps]
    queues = {method.queue for method in methods if isinstance(method, spec.Queue.Declare)}
    exchanges = {method.exchange for method in methods if isinstance(method, spec.Exchange.Declare)}
    for name in sorted(queues - {""}):
        client.call(spec.Queue.Delete(queue=name))
    for name in sorted(exchanges):
        if name and not name.startswith("amq."):
            client.call(spec.Exchange.Delete(exchange=name))


def plain(reply: Any, vhost: str) -> Any:
    """``reply`` as JSON keeps it: server-made names and the vhost's name made the same."""
    text = json.dumps(reply, ensure_ascii=False, default=repr)
    text = _MADE.sub(r"amq.\1-…", text).replace(f"vhost '{vhost}'", "vhost '/'")
    return json.loads(text)


def main(url: str, names: list[str]) -> None:
    """Write the record."""
    from tests.differential.oracle import Oracle

    def connect() -> Client:
        return Oracle.at(url)

    known = json.loads(RECORD.read_text())
    for name in names or SCENARIOS:
        known[name] = run(SCENARIOS[name], connect, Oracle.vhost_of(url))
        print(name, len(known[name]))
    record = {name: known[name] for name in SCENARIOS if name in known}
    lines = (
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(reply, ensure_ascii=False) for reply in replies) + "\n]"
        for name, replies in record.items()
    )
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

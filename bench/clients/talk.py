"""How a measured program speaks with the runner: one JSON object a line, commands in, events out.

Owns: the line protocol's client end, and where a program connects (``AMQP_URL``).
Must not know: what is measured.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pika


def say(event: str, **facts: Any) -> None:
    """Tell the runner what happened."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def commands() -> Iterator[dict[str, Any]]:
    """The runner's commands, until it closes our stdin."""
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        yield json.loads(line)


def connect() -> pika.BlockingConnection:
    """A connection to where the environment says."""
    return pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))

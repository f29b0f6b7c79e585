"""pika.adapters.blocking_connection, with haypile's BlockingConnection in place of pika's."""

from typing import Any

from pika.adapters import blocking_connection as _pikas
from pika.adapters.blocking_connection import *  # noqa: F403
from pika.adapters.blocking_connection import BlockingChannel as BlockingChannel

from haypile.fronts.blocking import BlockingConnection as BlockingConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

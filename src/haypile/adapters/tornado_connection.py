"""pika.adapters.tornado_connection, with haypile's TornadoConnection in place of pika's."""

from typing import Any

from pika.adapters import tornado_connection as _pikas
from pika.adapters.tornado_connection import *  # noqa: F403

from haypile.fronts.tornado import TornadoConnection as TornadoConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

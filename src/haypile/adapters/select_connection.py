"""pika.adapters.select_connection, with haypile's SelectConnection in place of pika's."""

from typing import Any

from pika.adapters import select_connection as _pikas
from pika.adapters.select_connection import *  # noqa: F403

from haypile.fronts.select import SelectConnection as SelectConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

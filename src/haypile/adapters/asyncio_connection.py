"""pika.adapters.asyncio_connection, with haypile's AsyncioConnection in place of pika's."""

from typing import Any

from pika.adapters import asyncio_connection as _pikas
from pika.adapters.asyncio_connection import *  # noqa: F403

from haypile.fronts.asyncio import AsyncioConnection as AsyncioConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

"""pika.adapters, with haypile's connection classes in place of pika's."""

from typing import Any

from pika import adapters as _pikas
from pika.adapters import BaseConnection, IOLoop

from haypile.fronts.asyncio import AsyncioConnection
from haypile.fronts.blocking import BlockingConnection
from haypile.fronts.select import SelectConnection

__all__ = ["AsyncioConnection", "BaseConnection", "BlockingConnection", "IOLoop", "SelectConnection"]


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

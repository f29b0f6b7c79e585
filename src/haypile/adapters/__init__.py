"""pika.adapters, with haypile's connection classes in place of pika's."""

from importlib import import_module
from typing import Any

from pika import adapters as _pikas
from pika.adapters import BaseConnection, IOLoop

from haypile.fronts.asyncio import AsyncioConnection
from haypile.fronts.blocking import BlockingConnection
from haypile.fronts.select import SelectConnection

__all__ = ["AsyncioConnection", "BaseConnection", "BlockingConnection", "IOLoop", "SelectConnection"]


#: Modules of pika's for which there are our own.
_OURS = {f"{loop}_connection" for loop in ("asyncio", "blocking", "gevent", "select", "tornado", "twisted")}


def __getattr__(name: str) -> Any:
    found = getattr(_pikas, name)
    # pika's package has its modules as attributes: ``pika.adapters.asyncio_connection`` without an import.
    return import_module(f"{__name__}.{name}") if name in _OURS else found

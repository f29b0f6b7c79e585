"""pika.adapters, with haypile's connection classes in place of pika's."""

from pika.adapters import AsyncioConnection, BaseConnection, IOLoop

from haypile.fronts.blocking import BlockingConnection
from haypile.fronts.select import SelectConnection

__all__ = ["AsyncioConnection", "BaseConnection", "BlockingConnection", "IOLoop", "SelectConnection"]

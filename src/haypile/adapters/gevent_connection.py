"""pika.adapters.gevent_connection, with haypile's GeventConnection in place of pika's."""

from typing import Any

from pika.adapters import gevent_connection as _pikas
from pika.adapters.gevent_connection import *  # noqa: F403

from haypile.fronts.gevent import GeventConnection as GeventConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

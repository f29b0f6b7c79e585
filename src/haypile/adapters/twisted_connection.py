"""pika.adapters.twisted_connection, with haypile's TwistedProtocolConnection in place of pika's."""

from typing import Any

from pika.adapters import twisted_connection as _pikas
from pika.adapters.twisted_connection import *  # noqa: F403

from haypile.fronts.twisted import TwistedProtocolConnection as TwistedProtocolConnection


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

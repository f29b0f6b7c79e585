"""pika.connection, with haypile's URLParameters in place of pika's."""

from typing import Any

from pika import connection as _pikas
from pika.connection import *  # noqa: F403
from pika.connection import Connection as Connection
from pika.connection import ConnectionParameters as ConnectionParameters
from pika.connection import Parameters as Parameters
from pika.connection import SSLOptions as SSLOptions

from haypile.parameters import URLParameters as URLParameters


def __getattr__(name: str) -> Any:
    return getattr(_pikas, name)

"""pika programs without a broker: ``import haypile as pika``.

Every public name of pika is here, submodules too; connections go where their parameters lead
(``haypile.targets``): kernel queues of this host, or a RabbitMQ.
"""

import logging
from typing import Any

from haypile.alias import alias_pika

alias_pika()

import pika as _pika  # noqa: E402
from pika import (  # noqa: E402
    AMQPConnectionWorkflow,
    BaseConnection,
    BasicProperties,
    ConnectionParameters,
    DeliveryMode,
    PlainCredentials,
    SSLOptions,
    amqp_object,
    callback,
    channel,
    credentials,
    data,
    delivery_mode,
    diagnostic_utils,
    exceptions,
    exchange_type,
    frame,
    heartbeat,
    spec,
    tcp_socket_opts,
    validators,
)

from haypile import adapters, connection  # noqa: E402

try:
    from pika import compat
except ImportError:  # pika's development branch has none
    compat = None
from haypile.fronts.blocking import BlockingConnection  # noqa: E402
from haypile.fronts.select import SelectConnection  # noqa: E402
from haypile.parameters import URLParameters  # noqa: E402
from haypile.swap import install, uninstall  # noqa: E402

__version__ = "0.1.0"

# Quiet unless the program says otherwise: without a handler Python would print warnings.
logging.getLogger("haypile").addHandler(logging.NullHandler())

__all__ = [
    "AMQPConnectionWorkflow",
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "ConnectionParameters",
    "DeliveryMode",
    "PlainCredentials",
    "SSLOptions",
    "SelectConnection",
    "URLParameters",
    "adapters",
    "amqp_object",
    "callback",
    "channel",
    "compat",
    "connection",
    "credentials",
    "data",
    "delivery_mode",
    "diagnostic_utils",
    "exceptions",
    "exchange_type",
    "frame",
    "heartbeat",
    "install",
    "spec",
    "tcp_socket_opts",
    "uninstall",
    "validators",
]

if compat is None:
    del compat
    __all__.remove("compat")


def __getattr__(name: str) -> Any:
    """What a newer pika has beyond the names above."""
    try:
        return getattr(_pika, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

"""pika programs without a broker: ``import haypile as pika``.

Every public name of pika is here, submodules too; connections go where their parameters lead
(``haypile.targets``): kernel queues of this host, or a RabbitMQ.
"""

from haypile.alias import alias_pika

alias_pika()

from pika import (  # noqa: E402
    AMQPConnectionWorkflow,
    BaseConnection,
    BasicProperties,
    ConnectionParameters,
    PlainCredentials,
    SSLOptions,
    channel,
    connection,
    credentials,
    exceptions,
    exchange_type,
    frame,
    spec,
)
from pika.delivery_mode import DeliveryMode  # noqa: E402

from haypile import adapters  # noqa: E402
from haypile.fronts.blocking import BlockingConnection  # noqa: E402
from haypile.fronts.select import SelectConnection  # noqa: E402
from haypile.parameters import URLParameters  # noqa: E402
from haypile.swap import install, uninstall  # noqa: E402

__version__ = "0.1.0"

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
    "channel",
    "connection",
    "credentials",
    "exceptions",
    "exchange_type",
    "frame",
    "install",
    "spec",
    "uninstall",
]

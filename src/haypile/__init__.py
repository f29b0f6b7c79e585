"""pika programs without a broker: ``import haypile as pika``.

Every public name of pika is here, submodules too; connections go where their parameters lead
(``haypile.targets``): kernel queues of this host, or a RabbitMQ.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from os.path import isfile, join
from typing import TYPE_CHECKING, Any

from haypile.alias import alias_pika

if TYPE_CHECKING:
    from pika import (
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
        compat,
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

    from haypile import adapters, connection
    from haypile.fronts.blocking import BlockingConnection
    from haypile.fronts.select import SelectConnection
    from haypile.parameters import URLParameters
    from haypile.swap import install, uninstall

__version__ = "0.1.0"

alias_pika()

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

_pikas = find_spec("pika")
if _pikas is not None and not any(
    isfile(join(place, "compat.py")) for place in _pikas.submodule_search_locations or ()
):  # pika's development branch has none
    __all__.remove("compat")

#: Where our own names are; all others are pika's.
_OURS = {
    "BlockingConnection": "haypile.fronts.blocking",
    "SelectConnection": "haypile.fronts.select",
    "URLParameters": "haypile.parameters",
    "install": "haypile.swap",
    "uninstall": "haypile.swap",
}
_OUR_MODULES = ("adapters", "connection")


def __getattr__(name: str) -> Any:
    """A public name, when it is first used: the command line, and ``haypile run``, do without pika."""
    if name in _OURS:
        found = getattr(import_module(_OURS[name]), name)
    elif name in _OUR_MODULES:
        found = import_module(f"haypile.{name}")
    else:
        try:
            found = getattr(import_module("pika"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

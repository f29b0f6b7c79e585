"""What the broker says in the AMQP handshake, and what it hears.

Owns: the contents of Connection.Start and Connection.Tune, and reading Connection.StartOk.
Must not know: connections, sessions.
"""

from __future__ import annotations

import platform
from typing import Any

from pika import spec

#: RabbitMQ's defaults (https://www.rabbitmq.com/docs/configure): channels, bytes, seconds.
CHANNEL_MAX, FRAME_MAX, HEARTBEAT = 2047, 131072, 60

#: What RabbitMQ 3.10 says of itself, so that clients find what they look for.
CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "consumer_priorities": True,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "direct_reply_to": True,
}


def start() -> spec.Connection.Start:
    """The broker's greeting."""
    return spec.Connection.Start(0, 9, server_properties(), "AMQPLAIN PLAIN", "en_US")


def tune() -> spec.Connection.Tune:
    """The limits it proposes."""
    return spec.Connection.Tune(CHANNEL_MAX, FRAME_MAX, HEARTBEAT)


def server_properties() -> dict[str, Any]:
    """What the broker says of itself in Connection.Start."""
    return {
        "capabilities": dict(CAPABILITIES),
        "cluster_name": f"haypile@{platform.node()}",
        "copyright": "",
        "information": "RabbitMQ's protocol over the kernel queues of this host",
        "platform": f"Python {platform.python_version()}",
        "product": "haypile",
        "version": "3.10.8",
    }


def user_of(method: spec.Connection.StartOk) -> str:
    """User name in a PLAIN response; haypile asks for no password, the kernel knows who we are."""
    response = method.response
    if isinstance(response, str):
        response = response.encode()
    parts = (response or b"").split(b"\0")
    return parts[1].decode(errors="replace") if len(parts) == 3 else "guest"

"""What pika's adapters for loops of others are made of.

Owns: pika's private classes behind its asyncio, gevent and Twisted connections.
Must not know: what these connections lead to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.adapters import asyncio_connection


def asyncio_services(loop: Any) -> Any:
    """pika's ``AbstractIOServices`` over an asyncio loop, or the running one."""
    return asyncio_connection._AsyncioIOServicesAdapter(loop)


def gevent_services(loop: Any) -> Any:
    """pika's ``AbstractIOServices`` over its gevent loop, or a new one on this thread's hub."""
    import gevent  # noqa: PLC0415
    from pika.adapters import gevent_connection  # noqa: PLC0415

    return gevent_connection._GeventSelectorIOServicesAdapter(
        loop or gevent_connection._GeventSelectorIOLoop(gevent.get_hub())
    )


def twisted_connection() -> Any:
    """pika's connection class under a ``TwistedProtocolConnection``."""
    from pika.adapters.twisted_connection import _TwistedConnectionAdapter  # noqa: PLC0415

    return _TwistedConnectionAdapter


def replace_twisted(protocol: Any, kind: Callable[..., Any], parameters: Any, reactor: Any) -> Any:
    """Put a connection of ``kind`` under ``protocol``, and return it. Its errors keep their words."""

    def failed(connection: Any, error: Exception) -> None:
        ready, protocol.ready = protocol.ready, None
        if ready:
            ready.errback(error)

    protocol._impl = kind(parameters, protocol._on_connection_ready, failed, protocol._on_connection_closed, reactor)
    return protocol._impl


def twisted_reactor(connection: Any) -> Any:
    """The reactor of pika's connection."""
    return connection._reactor

"""The vocabulary of scenarios."""

from __future__ import annotations

from typing import Any

from pika import spec

X, Q, B, T = spec.Exchange, spec.Queue, spec.Basic, spec.Tx
P = spec.BasicProperties
Step = tuple[Any, ...]


def publish(exchange: str, key: str, properties: Any = None, body: bytes = b"x", **fields: Any) -> Step:
    """A publish on connection 0."""
    method = B.Publish(exchange=exchange, routing_key=key, **fields)
    return (0, method, properties or P(), body)

"""Parcels: messages that wait in an outbox for a RabbitMQ that is away.

Owns: how a publish becomes a message of the outbox queue, and what it was again.
Must not know: who packs, who sends.

Whatever a broker on the way would act on (CC, BCC, user_id, the headers at all) is packed with the address and
comes out as the program gave it.
"""

from __future__ import annotations

import copy
from typing import Any

from pika.spec import BasicProperties

#: The only header of a parcel.
HEADER = "x-haypile-parcel"
#: Name of the outbox queue of a RabbitMQ.
QUEUE = "haypile.outbox.{}"


def pack(exchange: str, routing_key: str, properties: BasicProperties) -> BasicProperties:
    """Properties of the parcel for a message to ``exchange`` with ``routing_key``."""
    address: dict[str, Any] = {"exchange": exchange, "key": routing_key}
    if properties.headers is not None:
        address["headers"] = properties.headers
    packed = copy.copy(properties)
    if properties.user_id is not None:
        address["user"] = properties.user_id
        packed.user_id = None
    packed.headers = {HEADER: address}
    return packed


def unpack(properties: BasicProperties) -> tuple[str, str, BasicProperties] | None:
    """Exchange, routing key and properties of what was packed; None for a message that is no parcel."""
    address = (properties.headers or {}).get(HEADER)
    if not isinstance(address, dict) or not isinstance(address.get("exchange"), str):
        return None
    properties.headers = address.get("headers")
    if "user" in address:
        properties.user_id = address["user"]
    return address["exchange"], str(address.get("key", "")), properties

"""Properties of a message that mean something to the broker.

Owns: the checks RabbitMQ makes of user_id, expiration, CC and BCC when a message is published; x-delivery-count.
Must not know: queues, channels.
"""

from __future__ import annotations

import re
from typing import Any

from pika.spec import BasicProperties

from haypile.broker import texts
from haypile.broker.errors import PreconditionFailed
from haypile.broker.terms import quote, type_name
from haypile.broker.wide import long

#: Headers that carry further routing keys (https://www.rabbitmq.com/docs/sender-selected).
COPIES = ("CC", "BCC")
#: Longest expiration, ms: ten years (rabbit_misc:check_expiry).
LONGEST = 315_360_000_000

_INTEGER = re.compile(r"[+-]?[0-9]+")


def check(properties: BasicProperties, user: str) -> None:
    """Raise PreconditionFailed for a user_id that is not ``user``, an expiration or a delivery mode that is none.

    https://www.rabbitmq.com/docs/validated-user-id, https://www.rabbitmq.com/docs/ttl
    """
    claimed = properties.user_id
    if claimed is not None and claimed != user:
        raise PreconditionFailed(texts.user_id(claimed, user))
    expiration = properties.expiration
    if expiration is not None:
        wrong = expiration_error(expiration)
        if wrong:
            raise PreconditionFailed(texts.invalid_expiration(expiration, wrong))
    if properties.delivery_mode not in (None, 1, 2):
        raise PreconditionFailed(texts.unknown_delivery_mode(properties.delivery_mode))


def expiration_error(expiration: str) -> str:
    """What RabbitMQ finds wrong with ``expiration``; "" when nothing is."""
    number = _INTEGER.match(expiration)
    if number is None:
        return "no_integer"
    if number.end() < len(expiration):
        return f"{{leftover_string,{quote(expiration[number.end() :])}}}"
    value = int(expiration)
    if value < 0:
        return f"{{value_negative,{value}}}"
    if value > LONGEST:
        return f"{{value_too_large,{value}}}"
    return ""


def copied_to(headers: dict[str, Any]) -> list[str]:
    """Routing keys of the CC and BCC headers.

    Raises PreconditionFailed when one of them is no array.
    """
    keys: list[str] = []
    for name in COPIES:
        value = headers.get(name)
        if name not in headers:
            continue
        if not isinstance(value, list):
            raise PreconditionFailed(texts.unacceptable_header(name, type_name(value)))
        keys.extend(key for key in value if isinstance(key, str))
    return keys


def add_delivery_count(properties: BasicProperties, deliveries: int) -> None:
    """Set x-delivery-count (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling)."""
    properties.headers = {**(properties.headers or {}), "x-delivery-count": long(deliveries)}

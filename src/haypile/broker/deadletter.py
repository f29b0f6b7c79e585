"""Dead-lettering: what a message becomes when its queue gives it up.

Owns: the x-death headers and the detection of cycles (RabbitMQ's rabbit_dead_letter.erl,
https://www.rabbitmq.com/docs/dlx).
Must not know: why messages die, how they are stored (``enqueue``).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

from pika.spec import BasicProperties

from haypile.broker.message import Message
from haypile.broker.wide import long

#: Reasons, as they stand in x-death.
REJECTED, EXPIRED, MAXLEN, DELIVERY_LIMIT = "rejected", "expired", "maxlen", "delivery_limit"


class DeadLetter(NamedTuple):
    """A message on its way out of a queue."""

    routing_key: str
    #: All the keys it is routed by (CC included).
    routing_keys: list[str]
    properties: BasicProperties


def routes(headers: dict[str, Any] | None) -> list[str]:
    """Keys of the CC header (BCC is removed when a message is published)."""
    if not headers:
        return []
    return [key for key in headers.get("CC", ()) if isinstance(key, str)]


def make(message: Message, reason: str, queue: str, routing_key: str | None, wall: float) -> DeadLetter:
    """The message that is published to the dead letter exchange.

    ``routing_key`` is the queue's x-dead-letter-routing-key; ``wall`` the time, seconds since 1970.
    """
    properties = message.properties
    headers = dict(properties.headers or {})
    copies = routes(headers)
    event: dict[str, Any] = {
        "count": long(1),
        "reason": reason,
        "queue": queue,
        "time": datetime.fromtimestamp(int(wall), timezone.utc).replace(tzinfo=None),
        "exchange": message.exchange,
        "routing-keys": [message.routing_key, *copies],
    }
    if properties.expiration is not None:
        event["original-expiration"] = properties.expiration
    _record(headers, event)
    if routing_key is None:
        keys = [message.routing_key, *copies]
    else:
        keys = [routing_key]
        headers.pop("CC", None)
    # rabbit_misc:set_table_value sorts the table.
    properties.headers = dict(sorted(headers.items()))
    properties.expiration = None
    return DeadLetter(keys[0], keys, properties)


def _record(headers: dict[str, Any], event: dict[str, Any]) -> None:
    """Add ``event`` to the x-death headers: newest first, one entry for each queue and reason."""
    deaths = headers.get("x-death")
    if deaths is None:
        for key in ("reason", "queue", "exchange"):
            headers[f"x-first-death-{key}"] = event[key]
        headers["x-death"] = [event]
        return
    if not isinstance(deaths, list):
        headers["x-death"] = [event]
        return
    others = []
    for death in _grouped(deaths):
        if _key(death) == (event["queue"], event["reason"]):
            # The first such event keeps its time and keys; only its count grows.
            event = {**death, "count": long(int(death.get("count") or 0) + 1)}
        else:
            others.append(death)
    # From the second event on RabbitMQ keeps the fields of the newest one sorted.
    headers["x-death"] = [dict(sorted(event.items())), *others]


def _key(death: Any) -> tuple[Any, Any] | None:
    return (death.get("queue"), death.get("reason")) if isinstance(death, dict) else None


def _grouped(deaths: list[Any]) -> list[Any]:
    """One entry for each queue and reason, in reverse order (rabbit_dead_letter:group_by_queue_and_reason)."""
    if len(deaths) < 2:
        return deaths
    keys = [_key(death) for death in deaths]
    found: list[Any] = []
    for at, (key, death) in enumerate(zip(keys, deaths, strict=True)):
        if key is None:
            found.insert(0, death)
        elif key not in keys[:at]:
            found.insert(0, death if "count" in death else {"count": long(keys.count(key)), **death})
    return found


def is_cycle(queue: str, headers: dict[str, Any] | None) -> bool:
    """Whether ``queue`` has seen the message before, with no rejection since."""
    deaths = (headers or {}).get("x-death")
    if not isinstance(deaths, list):
        return False
    seen = []
    for death in deaths:
        seen.append(death)
        if isinstance(death, dict) and death.get("queue") == queue:
            return all(isinstance(one, dict) and one.get("reason") != REJECTED for one in seen)
    return False

"""The firehose: a copy of what is published and delivered, for whoever is bound to ``amq.rabbitmq.trace``.

Owns: which messages are copied, under which keys and headers (rabbit_trace.erl).
Must not know: who watches, how messages are stored.

https://www.rabbitmq.com/docs/firehose. A RabbitMQ's is turned on and off by rabbitmqctl; here it runs while
anything is bound to the exchange, so it ends with the watcher's queue, even when the watcher is killed.
Publishers find out by their routes, which are asked for anew when that changes, consumers by the topology's
version: nobody pays for it while nobody watches. What there is no room for is not copied; the message itself
goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pika.spec import BasicProperties

from haypile.broker import message
from haypile.broker.policies import HIDDEN
from haypile.broker.pressure import Congested
from haypile.broker.properties import copied_to
from haypile.broker.topology import FIREHOSE
from haypile.broker.wide import long
from haypile.hay.errors import OutOfRoom

if TYPE_CHECKING:
    from haypile.broker.message import Message
    from haypile.broker.queue import QueueHandle
    from haypile.broker.session import Session

#: RabbitMQ names its Erlang node; a vhost of ours is on this host only.
NODE = "haypile@localhost"


def published(
    session: Session,
    channel: int,
    exchange: str,
    keys: tuple[str, ...],
    handles: tuple[QueueHandle, ...],
    properties: BasicProperties | None,
    body: bytes,
) -> None:
    """Copy a message that ``channel`` publishes; ``keys`` are its routing keys, those of CC and BCC too."""
    # The default exchange does not ask which queues there are.
    queues = [handle.queue.name for handle in handles] if exchange else sorted(set(keys))
    headers = {
        **describe(exchange, list(keys), properties),
        "vhost": session.vhost.name,
        "connection": session.name,
        "channel": channel,
        "user": session.user,
        "routed_queues": [queue for queue in queues if not queue.startswith(HIDDEN)],
    }
    copy(session, f"publish.{exchange}", headers, body)


def delivered(
    session: Session, channel: int, handle: QueueHandle, messages: Iterable[tuple[Message, bool, int]]
) -> None:
    """Copy messages that ``channel`` was sent from a queue; beside each: redelivered, failed deliveries before."""
    for one, redelivered, deliveries in messages:
        if one.exchange == FIREHOSE:
            # Else watching would be watched, without end.
            continue
        properties = one.properties
        keys = [one.routing_key, *(copied_to(properties.headers) if properties.headers else ())]
        table = describe(one.exchange, keys, properties)
        if handle.counts_deliveries:
            known = table["properties"].get("headers", {})
            table["properties"]["headers"] = {**known, "x-delivery-count": long(deliveries)}
        headers = {
            **table,
            "redelivered": int(redelivered),
            "vhost": session.vhost.name,
            "connection": session.name,
            "channel": channel,
            "user": session.user,
        }
        copy(session, f"deliver.{handle.queue.name}", headers, one.body)


def describe(exchange: str, keys: list[str], properties: BasicProperties | None) -> dict[str, Any]:
    """What both kinds of copies say."""
    known = {} if properties is None else vars(properties)
    return {
        "exchange_name": exchange,
        "routing_keys": keys,
        "properties": {name: known[name] for name in reversed(known) if known[name] is not None},
        "node": NODE,
    }


def copy(session: Session, key: str, headers: dict[str, Any], body: bytes) -> None:
    """Publish a copy to the firehose's exchange, which is internal: clients cannot."""
    route = session.vhost.topology.forward(FIREHOSE, key, headers)
    if route is None or not route.queues:
        return
    handles = tuple([handle for handle in map(session.handle_for, route.queues) if not handle.foreign])
    properties = BasicProperties(headers=headers)
    try:
        session.publisher.publish(handles, route.prefix, properties, message.encode_properties(properties), body)
    except (Congested, OutOfRoom):
        return

"""Exchanges: those that are always there."""

from _show import attempt, connect

connection = connect()
for name, kind in {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
    "amq.rabbitmq.trace": "topic",
    "amq.nothing": "direct",
}.items():
    attempt(f"{name} passive", connection.channel().exchange_declare, name, passive=True)
    attempt(f"{name} same", connection.channel().exchange_declare, name, kind, durable=True)
    attempt(f"{name} transient", connection.channel().exchange_declare, name, kind)
    attempt(
        f"{name} other type",
        connection.channel().exchange_declare,
        name,
        "direct",
        durable=True,
        auto_delete=True,
    )
    attempt(f"{name} delete", connection.channel().exchange_delete, name)
    inner = connection.channel()
    inner.queue_declare("q", exclusive=True)
    attempt(f"{name} bind", inner.queue_bind, "q", name, "k")
    if inner.is_open:
        attempt(f"{name} unbind", inner.queue_unbind, "q", name, "k")
connection.close()

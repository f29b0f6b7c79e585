"""Quorum queues: declaring, counting deliveries, the delivery limit, what they refuse."""

from _show import attempt, connect, get_all, message, show, until, wait_count

connection = connect()
channel = connection.channel()
QUORUM = {"x-queue-type": "quorum"}


def fresh(label, name, *args, **kwargs):
    attempt(label, getattr(connection.channel(), name), *args, **kwargs)


fresh("transient", "queue_declare", "bad", arguments=QUORUM)
fresh("exclusive", "queue_declare", "bad", durable=True, exclusive=True, arguments=QUORUM)
fresh("auto-delete", "queue_declare", "bad", durable=True, auto_delete=True, arguments=QUORUM)
for name, value in {
    "x-max-priority": 5,
    "x-queue-mode": "lazy",
    "x-message-ttl": 1000,
    "x-overflow": "reject-publish-dlx",
    "x-delivery-limit": -1,
}.items():
    fresh(f"{name}", "queue_declare", f"with {name}", durable=True, arguments={**QUORUM, name: value})
    if connection.is_open:
        fresh("delete", "queue_delete", f"with {name}")
    else:
        connection = connect()
channel = connection.channel()
channel.queue_declare("dead")
channel.queue_declare(
    "q",
    durable=True,
    arguments={
        **QUORUM,
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    },
)
channel.confirm_delivery()
attempt("publish", channel.basic_publish, "", "q", b"a")
attempt("classic is another type", connection.channel().queue_declare, "q", durable=True)
seen = []


def on_message(channel, method, properties, body):
    seen.append(body)
    show("got", message(method, properties, body))
    channel.basic_nack(method.delivery_tag)


channel.basic_consume("q", on_message, consumer_tag="c")
until(connection, lambda: len(seen) == 3)
channel.basic_cancel("c")
wait_count(channel, "dead", 1)
for found in get_all(channel, "dead"):
    show("dead", message(*found))
show("global prefetch")
other = connection.channel()
other.basic_qos(prefetch_count=5, global_qos=True)
attempt("consume", other.basic_consume, "q", print)
connection = connect()
for name in ("dead", "q"):
    connection.channel().queue_delete(name)
connection.close()

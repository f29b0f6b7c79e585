"""Plugins: x-consistent-hash; weights, what is hashed, and who gets which key."""

import pika
from _show import attempt, bodies, connect, get_all, show

NEEDS = "x-consistent-hash"

connection = connect()
channel = connection.channel()
channel.confirm_delivery()
for name, arguments in (
    ("key", {}),
    ("header", {"hash-header": "h"}),
    ("id", {"hash-property": "message_id"}),
):
    attempt("declare", channel.exchange_declare, name, NEEDS, arguments=arguments)
    for weight in (1, 2, 3):
        channel.queue_declare(f"{name}{weight}")
        channel.queue_bind(f"{name}{weight}", name, str(weight))
    for number in range(40):
        properties = pika.BasicProperties(headers={"h": f"h{number}"}, message_id=f"m{number}")
        channel.basic_publish(name, f"k{number}", str(number).encode(), properties, mandatory=True)
    for weight in (1, 2, 3):
        show(name, weight, bodies(get_all(channel, f"{name}{weight}")))
channel.queue_unbind("key2", "key", "2")
for number in range(40):
    channel.basic_publish("key", f"k{number}", str(number).encode(), mandatory=True)
show("without the second", bodies(get_all(channel, "key1")), bodies(get_all(channel, "key3")))
attempt("no weight", connection.channel().queue_bind, "key1", "key", "heavy")
if not connection.is_open:
    connection = connect()
attempt("both", connection.channel().exchange_declare, "b", NEEDS, arguments={"hash-header": "h", "hash-property": "x"})
if not connection.is_open:
    connection = connect()
channel = connection.channel()
for name in ("key", "header", "id"):
    channel.exchange_delete(name)
connection.close()

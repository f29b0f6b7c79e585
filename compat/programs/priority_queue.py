"""Priorities: x-max-priority; order, clipping, requeueing, limits dropping the lowest."""

import pika
from _show import bodies, connect, get_all, show, until, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q", arguments={"x-max-priority": 5})


def publish(queue, *pairs):
    for body, priority in pairs:
        channel.basic_publish("", queue, body.encode(), pika.BasicProperties(priority=priority))


publish(
    "q",
    ("none", None),
    ("zero", 0),
    ("three", 3),
    ("five", 5),
    ("nine", 9),
    ("one", 1),
    ("three again", 3),
    ("none again", None),
    ("255", 255),
)
found = get_all(channel, "q")
show("order", bodies(found))
show("as sent", [properties.priority for _, properties, _ in found])
publish("q", ("low", 1), ("high", 4), ("middle", 2))
held = [channel.basic_get("q") for _ in range(3)]
for method, _, _ in reversed(held):
    channel.basic_nack(method.delivery_tag)
channel.queue_declare("q", passive=True)
found = get_all(channel, "q")
show("requeued", bodies(found), [method.redelivered for method, _, _ in found])
publish("q", ("low 1", 0), ("low 2", 0))
seen = []
channel.basic_qos(prefetch_count=1)
channel.basic_consume("q", lambda c, m, p, b: seen.append((m, p, b)))
until(connection, lambda: len(seen) == 1)
publish("q", ("high", 5))
channel.queue_declare("q", passive=True)
for expected in (2, 3):
    channel.basic_ack(seen[-1][0].delivery_tag)
    until(connection, lambda: len(seen) == expected)
show("overtaking", bodies(seen))
channel.queue_declare("short", arguments={"x-max-priority": 3, "x-max-length": 2})
publish("short", ("low", 0), ("high", 3), ("middle", 1))
wait_count(channel, "short", 2)
show("limit drops the lowest", bodies(get_all(channel, "short")))
channel.queue_declare("plain")
publish("plain", ("first", 0), ("second", 9))
show("without the argument", bodies(get_all(channel, "plain")))
for name in ("q", "short", "plain"):
    channel.queue_delete(name)
connection.close()

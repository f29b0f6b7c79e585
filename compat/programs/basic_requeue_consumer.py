"""Acknowledging: a consumer that requeues sees the message again, at its place."""

from _show import connect, fill, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", "a", "b", "c", "d")
seen = []


def on_message(channel, method, properties, body):
    seen.append((body.decode(), method.redelivered, method.delivery_tag))
    if body == b"b" and not method.redelivered:
        channel.basic_nack(method.delivery_tag)
    else:
        channel.basic_ack(method.delivery_tag)


channel.basic_qos(prefetch_count=1)
channel.basic_consume("q", on_message)
until(connection, lambda: len(seen) == 5)
for one in seen:
    show("seen", one)
show("left", channel.queue_delete("q").method.message_count)
connection.close()

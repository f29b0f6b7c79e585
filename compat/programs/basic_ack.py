"""Acknowledging: one, several, all; across consumers and queues of a channel."""

from _show import connect, count, fill, show, until

connection = connect()
channel = connection.channel()
watch = connection.channel()
for queue in ("q", "r"):
    watch.queue_declare(queue)
    fill(watch, queue, *"abcdef")
seen = []
for queue in ("q", "r"):
    channel.basic_consume(queue, lambda c, m, p, b: seen.append(m.delivery_tag))
until(connection, lambda: len(seen) == 12)
show("tags", sorted(seen))


def state(label):
    channel.queue_declare("q", passive=True)
    show(label, count(watch, "q"), count(watch, "r"))


channel.basic_ack(3)
state("one")
channel.basic_ack(5, multiple=True)
state("up to five")
channel.close()
for queue in ("q", "r"):
    watch.queue_declare(queue, passive=True)
remaining = sum(watch.queue_declare(queue, passive=True).method.message_count for queue in ("q", "r"))
show("given back", remaining)
channel = connection.channel()
for _ in range(remaining):
    for queue in ("q", "r"):
        channel.basic_get(queue)
channel.basic_ack(0, multiple=True)
channel.close()
for queue in ("q", "r"):
    show("all acknowledged", watch.queue_declare(queue, passive=True).method.message_count)
    watch.queue_delete(queue)
connection.close()

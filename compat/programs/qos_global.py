"""Prefetch: shared by a channel's consumers, alone and together with theirs."""

from _show import connect, fill, settle, show, until

connection = connect()
setup = connection.channel()
for queue in ("q", "r"):
    setup.queue_declare(queue)
    fill(setup, queue, *map(str, range(20)))
channel = connection.channel()
seen = []
channel.basic_qos(prefetch_count=5, global_qos=True)
for queue in ("q", "r"):
    channel.basic_consume(queue, lambda c, m, p, b: seen.append(m.delivery_tag))
until(connection, lambda: len(seen) == 5)
settle(connection, seen)
show("five together", seen)
channel.basic_ack(2, multiple=True)
until(connection, lambda: len(seen) == 7)
settle(connection, seen)
show("two more", seen)
channel.basic_qos(prefetch_count=8, global_qos=True)
until(connection, lambda: len(seen) == 10)
settle(connection, seen)
show("raised to eight", len(seen))
channel.basic_qos(prefetch_count=2, global_qos=True)
channel.basic_ack(5, multiple=True)
settle(connection, seen)
show("lowered to two", len(seen))
channel.basic_ack(10, multiple=True)
until(connection, lambda: len(seen) == 12)
settle(connection, seen)
show("below it again", len(seen))
channel.basic_qos(prefetch_count=0, global_qos=True)
until(connection, lambda: len(seen) == 40)
show("no limit", len(seen))
channel.close()
for queue in ("q", "r"):
    setup.queue_purge(queue)
    fill(setup, queue, *map(str, range(20)))
channel = connection.channel()
counts = {"q": 0, "r": 0}


def counting(queue):
    def on_message(channel, method, properties, body):
        counts[queue] += 1
        seen.append(queue)

    return on_message


channel.basic_qos(prefetch_count=3)
channel.basic_qos(prefetch_count=5, global_qos=True)
channel.basic_consume("q", counting("q"))
until(connection, lambda: counts["q"] == 3)
settle(connection, seen)
channel.basic_consume("r", counting("r"))
until(connection, lambda: sum(counts.values()) == 5)
settle(connection, seen)
show("both limits", counts)
for queue in ("q", "r"):
    setup.queue_delete(queue)
connection.close()

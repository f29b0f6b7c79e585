"""Prefetch: basic.get is not limited, but what it holds counts for nothing else."""

from _show import connect, fill, settle, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", *map(str, range(10)))
channel.basic_qos(prefetch_count=2)
for _ in range(4):
    channel.basic_get("q")
seen = []
channel.basic_consume("q", lambda c, m, p, b: seen.append(int(b)))
until(connection, lambda: len(seen) == 2)
settle(connection, seen)
show("beside four got", seen)
show("get goes on", channel.basic_get("q")[2])
channel.queue_delete("q")
connection.close()

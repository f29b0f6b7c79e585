"""Consuming: consumers of one connection get messages in turn, in the order in which they came."""

from _show import connect, fill, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
seen = []
fill(channel, "q", "waiting")
for tag in ("one", "two", "three"):
    inner = connection.channel()
    inner.basic_consume("q", lambda c, m, p, b: seen.append((m.consumer_tag, b.decode())), consumer_tag=tag)
until(connection, lambda: seen)
for number in range(7):
    fill(channel, "q", str(number))
    until(connection, lambda: len(seen) == number + 2)
for turn in seen:
    show("turn", turn)
channel.queue_delete("q")
connection.close()

"""Channels: closing one gives back what it has not acknowledged, in place and marked."""

from _show import connect, count, fill, get_all, message, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", "a", "b", "c", "d")
taker = connection.channel()
for _ in range(3):
    show("taken", message(*taker.basic_get("q")))
taker.basic_ack(2)
show("while held", count(channel, "q"))
taker.close()
show("after close", count(channel, "q"))
for found in get_all(channel, "q"):
    show("again", message(*found))
channel.queue_delete("q")
connection.close()

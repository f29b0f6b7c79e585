"""Acknowledging: basic.recover gives everything back; without requeue it is not implemented."""

from _show import attempt, connect, count, fill, show, until

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", "a", "b", "c")
for _ in range(2):
    channel.basic_get("q")
attempt("recover", channel.basic_recover, True)
show("count", count(channel, "q"))
seen = []
channel.basic_consume("q", lambda c, m, p, b: seen.append((b.decode(), m.redelivered, m.delivery_tag)))
until(connection, lambda: len(seen) == 3)
show("first", seen)
attempt("recover", channel.basic_recover, True)
until(connection, lambda: len(seen) == 6)
show("then", seen[3:])
channel.basic_ack(seen[-1][2], multiple=True)
attempt("nothing to recover", channel.basic_recover, True)
show("count", count(channel, "q"))
attempt("without requeue", channel.basic_recover, False)
show("open", channel.is_open, connection.is_open)
if not connection.is_open:
    connection = connect()
connection.channel().queue_delete("q")
connection.close()

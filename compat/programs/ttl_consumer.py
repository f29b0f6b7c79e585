"""Expiry: a message that expires behind a busy consumer is never delivered."""

from _show import bodies, connect, fill, settle, show, until, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
channel.basic_qos(prefetch_count=1)
seen = []
channel.basic_consume("q", lambda c, m, p, b: seen.append((m, p, b)))
fill(channel, "q", "first")
until(connection, lambda: len(seen) == 1)
fill(channel, "q", "expires", expiration="150")
fill(channel, "q", "stays")
wait_count(channel, "q", 1)
channel.basic_ack(seen[0][0].delivery_tag)
until(connection, lambda: len(seen) == 2)
settle(connection, seen)
show("seen", bodies(seen))
channel.queue_delete("q")
connection.close()

"""Queues: declaring; what DeclareOk says; message and consumer counts."""

from _show import attempt, connect, count, fill, show, until

connection = connect()
channel = connection.channel()
attempt("new", channel.queue_declare, "q")
fill(channel, "q", "a", "b", "c")
show("three", count(channel, "q"))
attempt("again", channel.queue_declare, "q")
seen = []
other = connection.channel()
other.basic_qos(prefetch_count=2)
first = other.basic_consume("q", lambda *message: seen.append(message))
until(connection, lambda: len(seen) == 2)
show("two are held", count(channel, "q"))
second = connection.channel().basic_consume("q", lambda *message: seen.append(message))
until(connection, lambda: len(seen) == 3)
show("two consumers", count(channel, "q"))
other.basic_cancel(first)
show("one cancelled", count(channel, "q"))
other.close()
until(connection, lambda: len(seen) == 5)
show("given back and taken", count(channel, "q"), [m[1].redelivered for m in seen])
attempt("durable", channel.queue_declare, "dur", durable=True)
attempt("delete says how many", channel.queue_delete, "q")
attempt("delete", channel.queue_delete, "dur")
connection.close()

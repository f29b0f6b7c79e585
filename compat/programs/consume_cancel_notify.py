"""Consuming: the broker cancels consumers of a deleted queue and says so."""

from _show import attempt, connect, fill, message, show, until

connection, other = connect(), connect()
channel = connection.channel()
channel.queue_declare("q")
channel.queue_declare("r")
seen = []
channel.add_on_cancel_callback(lambda frame: seen.append(("cancelled", frame.method.consumer_tag)))
channel.basic_consume("q", lambda *found: seen.append(message(*found[1:])), consumer_tag="one")
channel.basic_consume("r", lambda *found: seen.append(message(*found[1:])), consumer_tag="two")
other.channel().queue_delete("q")
until(connection, lambda: seen)
show("seen", seen)
show("tags", channel.consumer_tags)
fill(channel, "r", "still working")
until(connection, lambda: len(seen) == 2)
show("seen", seen[1:])
channel.queue_delete("r")
until(connection, lambda: len(seen) == 3)
show("own deletion", seen[2:])
attempt("nothing left to consume", channel.start_consuming)
show("open", channel.is_open)
generating = connection.channel()
generating.queue_declare("g")
generator = generating.consume("g", inactivity_timeout=0.05)
show("idle", next(generator))
other.channel().queue_delete("g")
for found in generator:
    show("turn", found[0] is not None)
show("generator ended")
connection.close()
other.close()

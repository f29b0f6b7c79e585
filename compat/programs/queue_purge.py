"""Queues: purging takes what is ready and leaves what is held."""

from _show import attempt, bodies, connect, count, fill, get_all, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
attempt("empty", channel.queue_purge, "q")
fill(channel, "q", "a", "b", "c", "d", "e")
taker = connection.channel()
taker.basic_get("q")
taker.basic_get("q")
attempt("three ready", channel.queue_purge, "q")
show("count", count(channel, "q"))
taker.basic_nack(2, multiple=True)
taker.queue_declare("q", passive=True)
show("held ones came back", bodies(get_all(channel, "q")))
attempt("absent", connection.channel().queue_purge, "absent")
channel.queue_delete("q")
connection.close()

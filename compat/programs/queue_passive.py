"""Queues: passive declaration looks and changes nothing."""

from _show import attempt, connect, count, fill, show

connection = connect()
channel = connection.channel()
attempt("absent", connection.channel().queue_declare, "q", passive=True)
channel.queue_declare("q", durable=True)
fill(channel, "q", "a", "b")
show("two", count(channel, "q"))
attempt("there", connection.channel().queue_declare, "q", passive=True)
attempt(
    "fields do not matter",
    connection.channel().queue_declare,
    "q",
    passive=True,
    durable=False,
    exclusive=True,
    auto_delete=True,
    arguments={"x-message-ttl": 5},
)
show("count", count(channel, "q"))
attempt("unnamed", connection.channel().queue_declare, "", passive=True)
attempt("reserved name", connection.channel().queue_declare, "amq.something", passive=True)
channel.queue_delete("q")
attempt("gone", connection.channel().queue_declare, "q", passive=True)
connection.close()

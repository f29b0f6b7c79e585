"""Consuming: absent queue, exclusive consumers, foreign exclusive queues, arguments."""

from _show import attempt, connect, count, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
attempt("absent", connection.channel().basic_consume, "absent", print)
alone = connection.channel()
tag = alone.basic_consume("q", lambda *_: None, exclusive=True, consumer_tag="alone")
attempt("beside an exclusive one", connection.channel().basic_consume, "q", print)
attempt("exclusive beside it", connection.channel().basic_consume, "q", print, exclusive=True)
attempt("same channel", alone.basic_consume, "q", print)
show("its channel is gone", alone.is_open)
shared = connection.channel()
shared.basic_consume("q", lambda *_: None, consumer_tag="shared")
attempt("exclusive beside a shared one", connection.channel().basic_consume, "q", print, exclusive=True)
show("count", count(channel, "q"))
shared.basic_cancel("shared")
attempt(
    "exclusive alone",
    connection.channel().basic_consume,
    "q",
    lambda *_: None,
    exclusive=True,
    consumer_tag="x",
)
attempt("priority not a number", connection.channel().basic_consume, "q", print, arguments={"x-priority": "high"})
attempt("get beside an exclusive consumer", connection.channel().basic_get, "q")
connection.channel().queue_delete("q")
connection.close()

"""Messages: 128 MiB is the largest body."""

from _show import attempt, connect, probe, show

LIMIT = 134217728
connection = connect()
channel = connection.channel()
channel.queue_declare("q")
channel.basic_publish("", "q", bytes(LIMIT))
_, _, body = channel.basic_get("q", auto_ack=True)
show("at the limit", len(body))
del body
channel.basic_publish("", "q", bytes(LIMIT + 1))
probe("past it", channel, "q")
show("open", channel.is_open, connection.is_open)
attempt("delete", connection.channel().queue_delete, "q")
connection.close()

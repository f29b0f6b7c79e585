"""Publishing: to an exchange that is not there; what was published before stands."""

from _show import attempt, connect, count, probe, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
channel.basic_publish("", "q", b"before")
channel.basic_publish("absent", "q", b"lost")
probe("told by the next call", channel, "q")
show("open", channel.is_open)
attempt("publish on it", channel.basic_publish, "", "q", b"no")
show("count", count(connection.channel(), "q"))
events = connection.channel()
events.basic_publish("absent", "q", b"lost")
for _ in range(500):
    connection.process_data_events(0.01)
    if events.is_closed:
        break
show("told by process_data_events", events.is_open)
attempt("long routing key", connection.channel().basic_publish, "", "k" * 256, b"x")
attempt("long exchange", connection.channel().basic_publish, "e" * 256, "k", b"x")
attempt("default exchange, 255 letters", connection.channel().basic_publish, "", "k" * 255, b"x")
connection.channel().queue_delete("q")
connection.close()

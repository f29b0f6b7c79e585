"""Messages: publish and get; GetOk's fields, empty answers, counts going down."""

from _show import attempt, connect, count, fill, message, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
show("empty", message(*channel.basic_get("q")))
fill(channel, "q", "a", "b", "c")
channel.exchange_declare("e", "direct")
channel.queue_bind("q", "e", "key")
channel.basic_publish("e", "key", b"by e")
for auto_ack in (True, False, True):
    show("get", message(*channel.basic_get("q", auto_ack=auto_ack)))
show("count", count(channel, "q"))
show("last", message(*channel.basic_get("q")))
show("empty", message(*channel.basic_get("q")))
attempt("absent queue", connection.channel().basic_get, "absent")
channel.basic_ack(0, multiple=True)
show("count", count(channel, "q"))
channel.queue_delete("q")
channel.exchange_delete("e")
connection.close()

"""Messages: user_id must be the connection's user."""

import pika
from _show import attempt, connect, probe

connection = connect()
connection.channel().queue_declare("q")
for user in ("guest", "somebody", ""):
    channel = connection.channel()
    channel.basic_publish("", "q", b"x", pika.BasicProperties(user_id=user))
    probe(repr(user), channel)
confirming = connection.channel()
confirming.confirm_delivery()
attempt("confirmed", confirming.basic_publish, "", "q", b"x", pika.BasicProperties(user_id="somebody"))
connection.channel().queue_delete("q")
connection.close()

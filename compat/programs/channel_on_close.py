"""Channels: a consumer's channel closed by the broker ends start_consuming with the reason."""

from _show import attempt, connect, fill, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q", exclusive=True)
fill(channel, "q", "one")


def on_message(channel, method, properties, body):
    show("got", body)
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)  # once too often


channel.basic_consume("q", on_message)
attempt("start_consuming", channel.start_consuming)
show("open", channel.is_open, connection.is_open)
show("left", connection.channel().queue_declare("q", passive=True).method.message_count)
connection.close()

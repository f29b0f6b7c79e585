"""Consuming: calls made inside a consumer's callback: publish, declare, get, cancel, stop."""

from _show import attempt, connect, fill, probe, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
channel.queue_declare("out")
fill(channel, "q", "1", "2", "3", "4")


def on_message(channel, method, properties, body):
    show("got", body, method.delivery_tag)
    probe("declare", channel, "out")
    channel.basic_publish("", "out", b"answer to " + body)
    channel.basic_ack(method.delivery_tag)
    if body == b"2":
        attempt("start_consuming inside", channel.start_consuming)
    if body == b"4":
        channel.stop_consuming()


channel.basic_qos(prefetch_count=1)
channel.basic_consume("q", on_message)
channel.start_consuming()
show("tags after stop", channel.consumer_tags)
while True:
    method, _, body = channel.basic_get("out", auto_ack=True)
    if method is None:
        break
    show("out", body)


def failing(channel, method, properties, body):
    raise RuntimeError("mine")


fill(channel, "q", "5")
channel.basic_consume("q", failing)
try:
    channel.start_consuming()
except RuntimeError as error:
    show("own exceptions pass", error, channel.is_open, connection.is_open)
channel.queue_delete("q")
channel.queue_delete("out")
connection.close()

"""Exchanges: fanout ignores the key and gives each queue one copy."""

from _show import connect, get_all, message, show

connection = connect()
channel = connection.channel()
channel.exchange_declare("f", "fanout")
for queue in ("q1", "q2"):
    channel.queue_declare(queue)
    channel.queue_bind(queue, "f", "this")
    channel.queue_bind(queue, "f", "that")
channel.basic_publish("f", "whatever", b"news")
channel.basic_publish("f", "", b"more")
for queue in ("q1", "q2"):
    for found in get_all(channel, queue):
        show(queue, message(*found))
channel.queue_unbind("q1", "f", "this")
channel.basic_publish("f", "", b"still bound by that")
channel.queue_unbind("q1", "f", "that")
channel.basic_publish("f", "", b"only q2")
for queue in ("q1", "q2"):
    show(queue, [body for _, _, body in get_all(channel, queue)])
    channel.queue_delete(queue)
channel.exchange_delete("f")
connection.close()

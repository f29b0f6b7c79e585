"""Exchanges: direct; several bindings, the same queue once, unbinding."""

from _show import attempt, bodies, connect, get_all, show

connection = connect()
channel = connection.channel()
attempt("declare", channel.exchange_declare, "d", "direct")
for queue, keys in {"q1": ["red", "blue"], "q2": ["red"], "q3": [""], "q4": []}.items():
    channel.queue_declare(queue)
    for key in keys:
        attempt(f"bind {queue} {key}", channel.queue_bind, queue, "d", key)
attempt("bind again", channel.queue_bind, "q1", "d", "red")
channel.queue_bind("q4", "d")  # pika's default: the queue's name


def send(*keys):
    for key in keys:
        channel.basic_publish("d", key, key.encode() or b"(empty)")
    for queue in ("q1", "q2", "q3", "q4"):
        show(queue, bodies(get_all(channel, queue)))


send("red", "blue", "green", "", "q4", "Red")
attempt("unbind", channel.queue_unbind, "q1", "d", "red")
attempt("unbind again", channel.queue_unbind, "q1", "d", "red")
attempt("unbind what never was", channel.queue_unbind, "q2", "d", "purple")
send("red", "blue")
for queue in ("q1", "q2", "q3", "q4"):
    channel.queue_delete(queue)
channel.exchange_delete("d")
connection.close()

"""Plugins: x-random gives each message to one of the bound queues."""

import pika
from _show import attempt, bodies, connect, get_all, show

NEEDS = "x-random"

connection = connect()
channel = connection.channel()
channel.confirm_delivery()
attempt("declare", channel.exchange_declare, "any", NEEDS)
attempt("nowhere", channel.basic_publish, "any", "k", b"x", mandatory=True)
queues = ("one", "two", "three")
for name in queues:
    channel.queue_declare(name)
    channel.queue_bind(name, "any", name)
for number in range(300):
    channel.basic_publish("any", "k", str(number).encode(), mandatory=True)
shares = [bodies(get_all(channel, name)) for name in queues]
show("each once", sorted(int(body) for share in shares for body in share) == list(range(300)))
show("each in order", all(list(map(int, share)) == sorted(map(int, share)) for share in shares))
show("about as many", all(50 < len(share) < 150 for share in shares))
channel.queue_unbind("one", "any", "one")
for number in range(50):
    channel.basic_publish("any", "one", b"", pika.BasicProperties(), mandatory=True)
show("without the first", len(get_all(channel, "one")), len(get_all(channel, "two") + get_all(channel, "three")))
channel.exchange_delete("any")
connection.close()

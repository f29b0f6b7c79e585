"""Expiry: what came due while nobody was connected is settled when somebody returns."""

import time

import pika.exceptions
from _show import bodies, connect, fill, get_all, show, wait_count

connection = connect()
channel = connection.channel()
channel.exchange_declare("dead", "direct", durable=True)
channel.queue_declare("kept", durable=True)
for key in ("late", "own", "cut"):
    channel.queue_bind("kept", "dead", key)
channel.queue_declare("gone", arguments={"x-expires": 300})
channel.queue_declare("stays", arguments={"x-expires": 60000})
arguments = {"x-message-ttl": 300, "x-dead-letter-exchange": "dead"}
channel.queue_declare("late", arguments=arguments, durable=True)
channel.queue_declare("own", arguments={"x-dead-letter-exchange": "dead"}, durable=True)
channel.queue_declare("plain", arguments={"x-message-ttl": 300})
fill(channel, "late", "1", "2", "3", delivery_mode=2)
fill(channel, "own", "a", expiration="200")
fill(channel, "own", "b")
fill(channel, "own", "behind", expiration="200")
fill(channel, "plain", "x", "y")
fill(channel, "gone", "z")
fill(channel, "stays", "s")
channel.queue_declare("mine", exclusive=True)
connection.close()
time.sleep(0.8)
connection = connect()
channel = connection.channel()
for queue in ("gone", "mine"):
    try:
        connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        show(queue, error)
wait_count(channel, "kept", 4)
found = get_all(channel, "kept")
show("dead", sorted(bodies(found)))
for _, properties, body in sorted(found, key=lambda one: one[2]):
    death = properties.headers["x-death"][0]
    times = death.pop("time")
    show(body.decode(), death, bool(times))
show("late, in order", [body for body in bodies(found) if body.isdigit()])
for queue in ("late", "plain", "own", "stays"):
    show(queue, bodies(get_all(channel, queue)))
connection.close()

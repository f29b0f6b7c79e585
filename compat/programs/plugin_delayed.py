"""Plugins: x-delayed-message, with every kind of x-delay; what it wraps; what redeclaring says."""

import time

import pika
from _show import attempt, bodies, collect, connect, show, until

NEEDS = "x-delayed-message"
KIND = {"x-delayed-type": "direct"}


def publish(body, key="k", **headers):
    channel.basic_publish("later", key, body.encode(), pika.BasicProperties(headers=headers or None))


connection = connect()
for arguments in (None, {}, {"x-delayed-type": "nope"}, {"x-delayed-type": 5}, {"x-delayed-type": "x-delayed-message"}):
    channel = connection.channel()
    attempt(f"declare {arguments}", channel.exchange_declare, "bad", NEEDS, arguments=arguments)
    if not connection.is_open:
        connection = connect()
channel = connection.channel()
attempt("declare", channel.exchange_declare, "later", NEEDS, arguments=KIND)
attempt("again", channel.exchange_declare, "later", NEEDS, arguments=KIND)
other = {"x-delayed-type": "fanout"}
attempt("another type", connection.channel().exchange_declare, "later", NEEDS, arguments=other)
channel.queue_declare("q")
channel.queue_bind("q", "later", "k")
seen = collect(channel, "q", auto_ack=True)
start = time.monotonic()
publish("in 900", **{"x-delay": 900})
publish("in 300", **{"x-delay": 300})
publish("at once")
publish("zero", **{"x-delay": 0})
publish("minus", **{"x-delay": -5})
publish("in 600", **{"x-delay": "600"})
publish("true", **{"x-delay": True})
publish("not bound", key="other", **{"x-delay": 50})
until(connection, lambda: len(seen) == 7)
late = time.monotonic() - start
show("in time", late > 0.89)
now = sorted(body for body in bodies(seen) if not body.startswith("in "))
show("at once", now, sorted(bodies(seen[: len(now)])) == now)
show("later", [body for body in bodies(seen) if body.startswith("in ")])
for found in seen:
    if found[2].startswith(b"in "):
        show("delivered", found[0].exchange, found[0].routing_key, found[1], found[2])
channel.confirm_delivery()
properties = pika.BasicProperties(headers={"x-delay": 100})
attempt("confirmed", channel.basic_publish, "later", "k", b"c", properties)
attempt("mandatory", channel.basic_publish, "later", "k", b"d", properties, mandatory=True)
attempt("mandatory, unroutable", channel.basic_publish, "later", "no", b"e", properties, mandatory=True)
attempt("mandatory, at once", channel.basic_publish, "later", "no", b"f", mandatory=True)
until(connection, lambda: len(seen) >= 9)
show("they come", sorted(bodies(seen[7:])))
channel.queue_purge("q")
properties = pika.BasicProperties(headers={"x-delay": 60000})
channel.basic_publish("later", "k", b"lost", properties)
attempt("delete", channel.exchange_delete, "later")
channel.exchange_declare("later", NEEDS, arguments=KIND)
properties = pika.BasicProperties(headers={"x-delay": "soon"})
attempt("no number", channel.basic_publish, "later", "k", b"n", properties)
show("connection", connection.is_open)

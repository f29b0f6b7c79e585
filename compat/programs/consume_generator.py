"""Consuming: the consume() generator, inactivity timeout, cancel() and what it returns."""

import time

from _show import attempt, bodies, connect, count, fill, get_all, show

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
fill(channel, "q", *"abcdefgh")
taken = []
for method, _properties, body in channel.consume("q"):
    taken.append(body.decode())
    channel.basic_ack(method.delivery_tag)
    if len(taken) == 3:
        break
show("taken", taken)
show("cancel", channel.cancel() in range(6))
channel.queue_declare("q", passive=True)
found = get_all(channel, "q")
show("given back", bodies(found), all(method.redelivered for method, _, _ in found))
started = time.monotonic()
rounds = 0
for found in channel.consume("q", inactivity_timeout=0.1):
    show("idle", found)
    rounds += 1
    if rounds == 2:
        break
show("waited", 0.15 < time.monotonic() - started < 5)
attempt("other parameters meanwhile", next, channel.consume("q", auto_ack=True))
attempt("cancel when idle", channel.cancel)
fill(channel, "q", *"xyz")
got = []
for method, _, body in channel.consume("q", auto_ack=True, inactivity_timeout=2):
    if method is None:
        break
    got.append(body.decode())
    if len(got) == 3:
        break
show("auto", got)
attempt("cancel", channel.cancel)
show("count", count(channel, "q"))
attempt("absent queue", next, channel.consume("absent"))
channel = connection.channel()
for method, _, body in channel.consume("q", inactivity_timeout=0.05, exclusive=True):
    attempt("excluded", connection.channel().basic_consume, "q", print)
    break
channel.cancel()
fill(channel, "q", "left in hand")
generator = channel.consume("q")
show("next", next(generator)[2])
channel.close()
attempt("after close", next, generator)
connection.channel().queue_delete("q")
connection.close()

"""Consuming: cancelling; what is held stays held and can still be acknowledged."""

import time

from _show import attempt, bodies, collect, connect, count, fill, get_all, settle, show, until

connection = connect()
channel = connection.channel()
setup = connection.channel()
setup.queue_declare("q")
fill(setup, "q", *"abcdef")
channel.basic_qos(prefetch_count=2)
seen = collect(channel, "q", consumer_tag="c")
until(connection, lambda: len(seen) == 2)
attempt("cancel", channel.basic_cancel, "c")
show("count", count(setup, "q"))
channel.basic_ack(seen[0][0].delivery_tag)
settle(connection, seen)
show("nothing more comes", bodies(seen))
channel.basic_nack(seen[1][0].delivery_tag)
channel.queue_declare("q", passive=True)
found = get_all(setup, "q")
show("left", bodies(found), [method.redelivered for method, _, _ in found])
fill(setup, "q", "early")
late = collect(channel, "q", consumer_tag="d", auto_ack=True)
while setup.queue_declare("q", passive=True).method.message_count:
    time.sleep(0.01)  # until it has been sent to the consumer, whose callback waits for the loop
attempt("cancel with undispatched messages", channel.basic_cancel, "d")
settle(connection, late)
show("dispatched or lost with auto-ack", len(late) <= 1)
setup.queue_delete("q")
connection.close()

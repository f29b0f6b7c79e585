"""Expiry: x-message-ttl; messages go in time, held ones do not, requeued ones are judged again."""

import time

from _show import bodies, connect, count, fill, get_all, show, wait_count

connection = connect()
channel = connection.channel()
channel.queue_declare("q", arguments={"x-message-ttl": 300})
fill(channel, "q", "a", "b")
show("at once", count(channel, "q"))
started = time.monotonic()
wait_count(channel, "q", 0)
show("gone in time", 0.2 < time.monotonic() - started < 2)
fill(channel, "q", "held", "lost")
method, _, _ = channel.basic_get("q")
wait_count(channel, "q", 0)
connection.sleep(0.3)
channel.basic_nack(method.delivery_tag)
wait_count(channel, "q", 0)
show("requeued after its time", count(channel, "q"))
fill(channel, "q", "c")
show("get in time", bodies(get_all(channel, "q")))
channel.queue_declare("zero", arguments={"x-message-ttl": 0})
fill(channel, "zero", "never kept")
wait_count(channel, "zero", 0)
show("ttl 0", bodies(get_all(channel, "zero")))
seen = []
channel.basic_consume("zero", lambda c, m, p, b: seen.append(b), auto_ack=True)
fill(channel, "zero", "straight through")
connection.sleep(0.1)
deadline = time.monotonic() + 5
while not seen and time.monotonic() < deadline:
    connection.process_data_events(0.02)
show("ttl 0 with a consumer", seen)
channel.queue_delete("q")
channel.queue_delete("zero")
connection.close()

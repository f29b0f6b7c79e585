"""Consumers: consumer_timeout closes the channel of one that does not acknowledge in time."""

import time

from _show import attempt, collect, connect, fill, show, until, wait_count

NEEDS = "consumer_timeout=1500"

connection = connect()
channel = connection.channel()
channel.queue_declare("q")
channel.queue_declare("got")
fill(channel, "got", "g")
fill(channel, "q", "a")
consuming, idle = connection.channel(), connection.channel()
seen = collect(consuming, "q", consumer_tag="slow")
quick = collect(idle, "got", auto_ack=True, consumer_tag="quick")
until(connection, lambda: len(seen) == 1 and len(quick) == 1)
idle.basic_cancel("quick")
fill(channel, "got", "g")
attempt("got", channel.basic_get, "got", auto_ack=False)
deadline = time.monotonic() + 20
until(connection, lambda: not consuming.is_open)
attempt("closed", consuming.basic_ack, 1)
show("waited", time.monotonic() < deadline - 10)
until(connection, lambda: not channel.is_open)
show("basic.get's message, too", channel.is_open)
looking = connection.channel()
wait_count(looking, "q", 1)
wait_count(looking, "got", 1)
for queue in ("q", "got"):
    method, _, body = looking.basic_get(queue, auto_ack=True)
    show("comes back", queue, body, method.redelivered)
show("one that acknowledged at once", idle.is_open)
connection.close()

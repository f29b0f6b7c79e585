"""Publishing: to a queue that has expired meanwhile, and with headers larger than a frame."""

import time

import pika
from _show import attempt, connect, get_all, message, show

connection = connect()
channel = connection.channel()
channel.confirm_delivery()
channel.queue_declare("unused", arguments={"x-expires": 150})
attempt("in time", channel.basic_publish, "", "unused", b"x", mandatory=True)
time.sleep(0.6)  # no turn of the loop
attempt("too late", channel.basic_publish, "", "unused", b"x", mandatory=True)
channel.queue_declare("q")
room = 131_072 - 12 - 2 - 4 - 2 - 1 - 4
for size in (room, room + 1, 200_000):
    if not connection.is_open:
        connection = connect()
        channel = connection.channel()
        channel.confirm_delivery()
    properties = pika.BasicProperties(headers={"h": "v" * size})
    attempt(f"header of {size}", channel.basic_publish, "", "q", b"x", properties)
    if connection.is_open:
        attempt("fetched", lambda: len(channel.basic_get("q", auto_ack=True)[1].headers["h"]))
connection = connect()
channel = connection.channel()
show("left", [message(*found) for found in get_all(channel, "q")])
channel.queue_delete("q")
connection.close()

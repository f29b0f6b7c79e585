"""Expiry: x-expires removes an unused queue; declaring and getting count as use, consumers prevent it."""

import time

from _show import connect, fill, probe, show


def gone(connection, queue, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection.sleep(0.7)  # a passive declaration counts as use: look seldom
        try:
            with connection.channel() as channel:
                channel.queue_declare(queue, passive=True)
        except Exception as error:
            return str(getattr(error, "reply_code", error))
    return "still there"


connection = connect()
channel = connection.channel()
channel.queue_declare("q", arguments={"x-expires": 400})
fill(channel, "q", "does not matter")
show("unused", gone(connection, "q"))
channel.queue_declare("q", arguments={"x-expires": 500})
for _ in range(5):
    connection.sleep(0.2)
    channel.basic_get("q")
probe("get is use", channel, "q")
for _ in range(5):
    connection.sleep(0.2)
    channel.queue_declare("q", arguments={"x-expires": 500})
probe("declaring is use", channel, "q")
tag = channel.basic_consume("q", lambda *_: None)
connection.sleep(0.9)
probe("a consumer is use", channel, "q")
channel.basic_cancel(tag)
for _ in range(3):
    connection.sleep(0.25)
    channel.basic_publish("", "q", b"x")
show("publishing is not", gone(connection, "q", 0.75))
connection.close()

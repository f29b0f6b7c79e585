"""Expiry: a program that only polls, and sleeps by itself, sees what came due and what the dead gave back."""

import os
import signal
import subprocess
import sys
import time

import pika.exceptions
from _show import connect, fill, show

connection = connect()
channel = connection.channel()
if sys.argv[1:]:
    channel.basic_get("held")
    os.kill(os.getpid(), signal.SIGKILL)


def poll(queue):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            return body, method.redelivered
        time.sleep(0.01)
    return "nothing came"


arguments = {"x-message-ttl": 100, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "late"}
channel.queue_declare("waiting", arguments=arguments)
channel.queue_declare("late")
channel.queue_declare("held")
channel.queue_declare("unused", arguments={"x-expires": 100})
fill(channel, "waiting", "a")
show("dead letter", poll("late"))
fill(channel, "held", "b")
subprocess.run([sys.executable, __file__, "victim"])
show("from the dead", poll("held"))
fill(channel, "waiting", "c")
time.sleep(0.3)
show("expired", channel.queue_declare("waiting", passive=True).method.message_count)
try:
    connection.channel().queue_declare("unused", passive=True)
except pika.exceptions.ChannelClosedByBroker as error:
    show("unused", error)
connection.close()

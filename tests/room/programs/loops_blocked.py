"""Publishing on one of pika's loops while alarms come and go: ``loops_blocked.py LOOP``. Prints what it is told.

First until an alarm is over; then, on another connection, until pika has had enough of waiting for that.
"""

# mypy: ignore-errors

import asyncio
import os
import sys

import pika

SIZE = 20_000
EVERY = 0.01


def select_loop():
    from pika.adapters.select_connection import IOLoop, SelectConnection

    loop = IOLoop()
    return SelectConnection, loop, loop.start, loop.stop


def asyncio_loop():
    from pika.adapters.asyncio_connection import AsyncioConnection

    loop = asyncio.new_event_loop()
    return AsyncioConnection, loop, loop.run_forever, loop.stop


def tornado_loop():
    from pika.adapters.tornado_connection import TornadoConnection
    from tornado.ioloop import IOLoop

    loop = IOLoop()
    return TornadoConnection, loop, loop.start, loop.stop


def gevent_loop():
    import gevent
    from pika.adapters import gevent_connection

    loop = gevent_connection._GeventSelectorIOLoop(gevent.get_hub())
    return gevent_connection.GeventConnection, loop, loop.start, loop.stop


class Program:
    """One connection after the other."""

    def __init__(self, kind, loop, stop):
        self.kind, self.loop, self.stop = kind, loop, stop
        self.timeouts = iter((None, 0.3))
        self.connect()

    def connect(self):
        parameters = pika.URLParameters(os.environ["AMQP_URL"])
        parameters.blocked_connection_timeout = next(self.timeouts)
        self.kind(
            parameters, on_open_callback=self.opened, on_close_callback=self.closed, custom_ioloop=self.loop
        )

    def opened(self, connection):
        connection.add_on_connection_blocked_callback(self.blocked)
        connection.add_on_connection_unblocked_callback(self.unblocked)
        connection.channel(on_open_callback=self.channel_open)

    def channel_open(self, channel):
        channel.queue_declare("blocked", callback=lambda frame: self.publish(channel))
        print("ready", flush=True)

    def publish(self, channel):
        if channel.is_open:
            channel.basic_publish("", "blocked", bytes(SIZE))
            self.loop.call_later(EVERY, lambda: self.publish(channel))

    def blocked(self, connection, frame):
        print("blocked", frame.method.reason, connection.is_open, flush=True)

    def unblocked(self, connection, frame):
        print("unblocked", type(frame.method).__name__, flush=True)
        connection.close()

    def closed(self, connection, error):
        print("closed", type(error).__name__, flush=True)
        if isinstance(error, pika.exceptions.ConnectionBlockedTimeout):
            self.stop()
        else:
            self.connect()


kind, loop, run, stop = globals()[f"{sys.argv[1]}_loop"]()
Program(kind, loop, stop)
run()

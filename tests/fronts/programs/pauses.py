"""Pausing, resuming and failing on each of pika's loops: ``pauses.py LOOP``. Prints what happens, in order."""

# mypy: ignore-errors

import sys

import pika
from loops import URL, AsyncioLoop, GeventLoop, SelectLoop, TornadoLoop

MESSAGES = 12


class Program:
    """One step after the other: each waits until nothing more comes."""

    def __init__(self, loop):
        self.loop = loop
        self.got = []
        self.tag = ""
        self.steps = iter(
            (self.one, self.three, self.two_shared, self.pause, self.resume, self.flow, self.stop_flow)
        )
        self.closings = 0
        self.connect(self.opened)

    def connect(self, opened):
        self.loop.kind(
            pika.URLParameters(URL),
            on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
            on_close_callback=self.closed,
            custom_ioloop=self.loop.loop,
        )

    def opened(self, channel):
        self.channel = channel
        channel.queue_declare("pauses", exclusive=True, callback=self.declared)

    def declared(self, frame):
        for number in range(MESSAGES):
            self.channel.basic_publish("", "pauses", b"%d" % number)
        self.next()

    def next(self, *frames):
        self.loop.later(0.05, self.step)

    def step(self):
        """What has come is settled, and the next step begun."""
        if self.got:
            print(" got", [int(body) for _, body in self.got])
        next(self.steps)()

    def consume(self, frame=None):
        self.tag = self.channel.basic_consume("pauses", self.on_message, callback=self.next)

    def on_message(self, channel, method, properties, body):
        self.got.append((method.delivery_tag, body))

    def settle(self, most):
        tags, self.got = [tag for tag, _ in self.got], []
        for tag in tags[:most]:
            self.channel.basic_ack(tag)
        for tag in tags[most:]:
            self.channel.basic_nack(tag)

    def again(self, frame):
        """A limit is for consumers that start after it."""
        self.channel.basic_cancel(self.tag, callback=self.back)

    def back(self, frame):
        self.settle(0)
        self.consume()

    def one(self):
        print("prefetch 1")
        self.channel.basic_qos(prefetch_count=1, callback=self.consume)

    def three(self):
        print("prefetch 3, the consumer anew")
        self.channel.basic_qos(prefetch_count=3, callback=self.again)

    def two_shared(self):
        print("prefetch 2 for all of the channel")
        self.channel.basic_qos(prefetch_count=2, global_qos=True, callback=self.limited)

    def limited(self, frame):
        self.settle(3)
        self.next()

    def pause(self):
        print("pause")
        self.settle(1)
        self.channel.basic_cancel(self.tag, callback=self.next)

    def resume(self):
        print("resume")
        self.settle(0)
        self.channel.basic_qos(prefetch_count=0, callback=self.consume)

    def flow(self):
        print("flow")
        self.settle(MESSAGES)
        self.channel.flow(True, callback=self.flows)

    def flows(self, active):
        print(" active", active)
        self.next()

    def stop_flow(self):
        print("no flow")
        self.channel.flow(False, callback=self.flows)

    def closed(self, connection, error):
        lost = isinstance(error, pika.exceptions.StreamLostError)
        print("closed", type(error).__name__, *error.args[: 1 if lost else 2])
        self.closings += 1
        if self.closings == 1:
            self.connect(self.fail)
        else:
            self.loop.stop()

    def fail(self, channel):
        """As a callback with a mistake in it does."""
        raise ValueError("mine")


loop = {"select": SelectLoop, "asyncio": AsyncioLoop, "tornado": TornadoLoop, "gevent": GeventLoop}[sys.argv[1]]()
Program(loop)
loop.run()

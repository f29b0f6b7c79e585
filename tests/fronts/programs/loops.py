"""A callback program for each of pika's loops: ``loops.py LOOP FOLDER``. Prints what happens, in order."""

# mypy: ignore-errors

import asyncio
import os
import sys
import threading

import pika

URL = os.environ["AMQP_URL"]
MESSAGES = 300


class SelectLoop:
    """pika's own."""

    def __init__(self):
        from pika.adapters.select_connection import IOLoop, SelectConnection

        self.kind, self.loop = SelectConnection, IOLoop()

    def run(self):
        self.loop.start()

    def stop(self):
        self.loop.stop()

    def later(self, delay, callback):
        self.loop.call_later(delay, callback)

    def from_thread(self, callback):
        self.loop.add_callback_threadsafe(callback)


class AsyncioLoop:
    def __init__(self):
        from pika.adapters.asyncio_connection import AsyncioConnection

        self.kind, self.loop = AsyncioConnection, asyncio.new_event_loop()

    def run(self):
        self.loop.run_forever()

    def stop(self):
        self.loop.stop()

    def later(self, delay, callback):
        self.loop.call_later(delay, callback)

    def from_thread(self, callback):
        self.loop.call_soon_threadsafe(callback)


class TornadoLoop(SelectLoop):
    def __init__(self):
        from pika.adapters.tornado_connection import TornadoConnection
        from tornado.ioloop import IOLoop

        self.kind, self.loop = TornadoConnection, IOLoop()

    def from_thread(self, callback):
        self.loop.add_callback(callback)


class GeventLoop(SelectLoop):
    def __init__(self):
        import gevent
        from pika.adapters import gevent_connection

        self.kind = gevent_connection.GeventConnection
        self.loop = gevent_connection._GeventSelectorIOLoop(gevent.get_hub())

    def from_thread(self, callback):
        self.loop.add_callback(callback)


class Program:
    def __init__(self, loop):
        self.loop = loop
        self.got = []
        self.confirmed = 0
        self.inside = False
        self.connections = 0

    def connect(self, url=URL):
        return self.loop.kind(
            pika.URLParameters(url),
            on_open_callback=self.opened,
            on_open_error_callback=self.failed,
            on_close_callback=self.closed,
            custom_ioloop=self.loop.loop,
        )

    def opened(self, connection):
        print("open", isinstance(connection, self.loop.kind))
        self.connection = connection
        self.connections += 1
        self.got.clear()
        connection.channel(on_open_callback=self.channel_open)

    def failed(self, connection, error):
        print("open error", isinstance(error, pika.exceptions.AMQPConnectionError), type(error).__name__)
        self.loop.stop()

    def closed(self, connection, error):
        print("closed", *error.args)
        if self.connections == 1:
            self.loop.later(0.01, self.connect)  # as pika's examples connect again
        else:
            self.loop.stop()

    def channel_open(self, channel):
        self.channel = channel
        self.inside = True
        channel.confirm_delivery(self.confirm)
        channel.queue_declare("loops", auto_delete=True, callback=self.declared)
        self.inside = False

    def declared(self, frame):
        print("declared", frame.method.queue, self.inside)
        self.channel.basic_qos(prefetch_count=10)
        self.channel.basic_consume("loops", self.consume)
        for number in range(MESSAGES):
            self.channel.basic_publish("", "loops", b"%d" % number)

    def confirm(self, frame):
        self.confirmed = frame.method.delivery_tag
        self.done()

    def consume(self, channel, method, properties, body):
        self.got.append(int(body))
        channel.basic_ack(method.delivery_tag)
        self.done()

    def done(self):
        if len(self.got) == MESSAGES == self.confirmed:
            self.confirmed = 0
            print("got", self.got == list(range(MESSAGES)))
            threading.Thread(target=self.loop.from_thread, args=(self.from_thread,)).start()

    def from_thread(self):
        print("from a thread")
        self.loop.later(0.01, self.later)

    def later(self):
        print("later")
        self.channel.add_on_close_callback(self.channel_closed)
        self.channel.queue_declare("missing", passive=True)

    def channel_closed(self, channel, reason):
        print("channel closed", reason.reply_code)
        self.connection.channel(on_open_callback=self.enough)

    def enough(self, channel):
        if self.connections == 1:
            channel.exchange_declare("loops", "nonsense")  # for which the broker closes the connection
        else:
            self.connection.close(200, "enough")


def workflow(loop):
    """create_connection, with parameters that lead nowhere before those that do."""
    nowhere = "amqp://guest:guest@127.0.0.2:1/%2F"

    def done(result):
        print("workflow", type(result).__name__, isinstance(result, loop.kind))
        if isinstance(result, loop.kind):
            result.add_on_close_callback(lambda connection, error: loop.stop())
            result.close()
        else:
            loop.stop()

    configs = [pika.URLParameters(nowhere), pika.URLParameters(URL)]
    if os.environ.get("HAYPILE_URL"):
        configs = configs[1:]  # it would lead the other one here, too
    loop.kind.create_connection(configs, done, custom_ioloop=loop.loop)
    loop.run()


def main():
    loop = {"select": SelectLoop, "asyncio": AsyncioLoop, "tornado": TornadoLoop, "gevent": GeventLoop}[sys.argv[1]]()
    program = Program(loop)
    program.connect()
    loop.run()
    workflow(loop)
    program.connect().close()
    loop.run()
    if "HAYPILE_DIR" in os.environ:
        os.environ["HAYPILE_DIR"] = sys.argv[2]  # which is open to all: no place for messages
    program.connect(URL.replace("guest:guest", "guest:wrong"))
    loop.run()


if __name__ == "__main__":
    main()

"""A consumer that sleeps, for each front: ``sleeper.py FRONT``. Prints how it sleeps and how it wakes."""

# mypy: ignore-errors

import os
import sys
import threading
import time

import pika

PARAMETERS = pika.URLParameters(os.environ["AMQP_URL"])
WAKES = 20
IDLE = 1.0

waits = []
facts = {"waits": waits, "idle": IDLE}


def threads():
    return len(os.listdir("/proc/self/task"))


def disturb(threadsafe, finish):
    """In another thread: let it sleep, count, then wake it again and again."""
    time.sleep(0.3)
    facts["threads"] = threads() - 1  # this one
    cpu = time.process_time()
    time.sleep(IDLE)
    facts["idle_cpu"] = time.process_time() - cpu
    for _ in range(WAKES):
        awake = threading.Event()
        start = time.perf_counter()
        threadsafe(awake.set)
        awake.wait(10)
        waits.append(time.perf_counter() - start)
        time.sleep(0.01)
    threadsafe(finish)


def start(threadsafe, finish):
    threading.Thread(target=disturb, args=(threadsafe, finish)).start()


def blocking():
    connection = pika.BlockingConnection(PARAMETERS)
    channel = connection.channel()
    channel.queue_declare("sleeper", auto_delete=True)
    channel.basic_consume("sleeper", print)
    start(connection.add_callback_threadsafe, channel.stop_consuming)
    channel.start_consuming()
    connection.close()


def events(kind, loop, run, stop, threadsafe):
    def opened(connection):
        connection.channel(on_open_callback=channel_open)

    def channel_open(channel):
        channel.queue_declare("sleeper", auto_delete=True, callback=lambda frame: consume(channel))

    def consume(channel):
        channel.basic_consume("sleeper", print, callback=lambda frame: start(threadsafe, channel.connection.close))

    kind(PARAMETERS, on_open_callback=opened, on_close_callback=lambda c, e: stop(), custom_ioloop=loop)
    run()


def select():
    from pika.adapters.select_connection import IOLoop

    loop = IOLoop()
    events(pika.SelectConnection, loop, loop.start, loop.stop, loop.add_callback_threadsafe)


def asynchronous():
    import asyncio

    from pika.adapters.asyncio_connection import AsyncioConnection

    loop = asyncio.new_event_loop()
    events(AsyncioConnection, loop, loop.run_forever, loop.stop, loop.call_soon_threadsafe)


def tornado():
    from pika.adapters.tornado_connection import TornadoConnection
    from tornado.ioloop import IOLoop

    loop = IOLoop()
    events(TornadoConnection, loop, loop.start, loop.stop, loop.add_callback)


def gevent():
    import gevent
    from pika.adapters import gevent_connection

    loop = gevent_connection._GeventSelectorIOLoop(gevent.get_hub())
    events(gevent_connection.GeventConnection, loop, loop.start, loop.stop, loop.add_callback)


def twisted():
    from pika.adapters.twisted_connection import TwistedProtocolConnection
    from twisted.internet import defer, protocol, reactor

    @defer.inlineCallbacks
    def main():
        creator = protocol.ClientCreator(reactor, TwistedProtocolConnection, PARAMETERS)
        connection = yield creator.connectTCP(PARAMETERS.host, PARAMETERS.port)
        yield connection.ready
        channel = yield connection.channel()
        yield channel.queue_declare("sleeper", auto_delete=True)
        yield channel.basic_consume("sleeper")

        def finish():
            connection.close().addBoth(lambda reason: reactor.stop())

        start(reactor.callFromThread, finish)

    reactor.callWhenRunning(main)
    reactor.run()


facts["threads_before"] = threads()
{"asyncio": asynchronous}.get(sys.argv[1], globals().get(sys.argv[1]))()
print(facts)

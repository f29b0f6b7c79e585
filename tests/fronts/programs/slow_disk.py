"""Confirms of persistent messages on a slow disk: ``slow_disk.py LOOP``. Prints the longest time the loop was kept."""

# mypy: ignore-errors

import os
import sys
import threading
import time

import pika

from haypile.hay.journal import Journal

#: Seconds that a flush takes.
SLOW = 0.8
URL = os.environ["AMQP_URL"]
facts = {"longest": 0.0, "here": 0, "flushes": 0}
write, sleep = Journal._write, time.sleep
main_thread = threading.main_thread()
if sys.argv[-1] == "patched":
    import gevent.monkey

    gevent.monkey.patch_all()


def slow(journal, *arguments):
    facts["here"] += threading.current_thread() is main_thread
    facts["flushes"] += 1
    sleep(SLOW)
    write(journal, *arguments)


Journal._write = slow


def select():
    from pika.adapters.select_connection import IOLoop

    loop = IOLoop()
    return pika.SelectConnection, loop, loop.start


def tornado():
    from pika.adapters.tornado_connection import TornadoConnection
    from tornado.ioloop import IOLoop

    loop = IOLoop()
    return TornadoConnection, loop, loop.start


def gevent():
    import gevent
    from pika.adapters import gevent_connection

    loop = gevent_connection._GeventSelectorIOLoop(gevent.get_hub())
    return gevent_connection.GeventConnection, loop, loop.start


def tick(before):
    now = time.monotonic()
    facts["longest"] = max(facts["longest"], now - before)
    loop.call_later(0.01, lambda: tick(now))


def opened(connection):
    tick(time.monotonic())
    connection.channel(on_open_callback=channel_open)


def channel_open(channel):
    channel.confirm_delivery(lambda frame: confirmed(channel, frame.method.delivery_tag))
    channel.queue_declare("slow", durable=True, callback=lambda frame: publish(channel))


def publish(channel):
    for _ in range(5):
        channel.basic_publish("", "slow", b"body", pika.BasicProperties(delivery_mode=2))


def confirmed(channel, tag):
    facts["confirmed"] = tag
    if tag == 5:
        publish(channel)
    elif tag == 10:
        channel.connection.close()


kind, loop, run = globals()[sys.argv[1]]()
kind(pika.URLParameters(URL), on_open_callback=opened, on_close_callback=lambda c, e: loop.stop(), custom_ioloop=loop)
run()
facts["slow"] = SLOW
print(facts)

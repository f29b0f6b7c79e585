"""asyncio as people write it: AsyncioConnection inside ``asyncio.run``, with other tasks beside it."""

# mypy: ignore-errors

import asyncio
import os

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

URL = os.environ["AMQP_URL"]


async def connect():
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    AsyncioConnection(
        pika.URLParameters(URL),
        on_open_callback=opened.set_result,
        on_open_error_callback=lambda connection, error: opened.set_exception(error),
    )
    return await opened


async def open_channel(connection):
    opened = asyncio.get_running_loop().create_future()
    connection.channel(on_open_callback=opened.set_result)
    return await opened


async def consumer(name, count):
    connection = await connect()
    channel = await open_channel(connection)
    messages = asyncio.Queue()
    declared = asyncio.Event()
    channel.queue_declare(name, exclusive=True, callback=lambda frame: declared.set())
    await declared.wait()
    channel.basic_consume(name, lambda ch, method, properties, body: messages.put_nowait((method, body)))
    ready[name].set()
    got = []
    for _ in range(count):
        method, body = await messages.get()
        got.append(int(body))
        channel.basic_ack(method.delivery_tag)
    closed = asyncio.Event()
    connection.add_on_close_callback(lambda c, error: closed.set())
    connection.close()
    await closed.wait()
    return got


async def producer(names, count):
    connection = await connect()
    channel = await open_channel(connection)
    for name in names:
        await ready[name].wait()
    for number in range(count):
        for name in names:
            channel.basic_publish("", name, b"%d" % number)
        if number % 10 == 0:
            await asyncio.sleep(0)
    closed = asyncio.Event()
    connection.add_on_close_callback(lambda c, error: closed.set())
    connection.close()
    await closed.wait()


async def main():
    names = ["a", "b", "c"]
    for name in names:
        ready[name] = asyncio.Event()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    results = await asyncio.gather(producer(names, 200), *(consumer(name, 200) for name in names))
    ticking.cancel()
    print([got == list(range(200)) for got in results[1:]], ticks > 0)


ready = {}
asyncio.run(main())

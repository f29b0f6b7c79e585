"""What a process has imported while its connection is idle: ``idle.py FRONT``. Prints what an open channel adds.

Beside what the program needs itself: the modules of pika's own import are taken off.
"""

# mypy: ignore-errors

import sys

front = sys.argv[1]
if front == "asyncio":
    import asyncio

import pika  # noqa: E402 - what this imports is what counts

PARAMETERS = pika.URLParameters("amqp://localhost")


def blocking(said):
    connection = pika.BlockingConnection(PARAMETERS)
    channel = connection.channel()
    said.append(sorted(sys.modules))
    channel.queue_declare("q")
    said.append(sorted(sys.modules))
    connection.close()


async def looping(said):
    from pika.adapters.asyncio_connection import AsyncioConnection

    opened, closed = asyncio.Event(), asyncio.Event()
    connection = AsyncioConnection(
        PARAMETERS,
        on_open_callback=lambda connection: connection.channel(on_open_callback=lambda channel: opened.set()),
        on_close_callback=lambda connection, error: closed.set(),
    )
    await opened.wait()
    said.append(sorted(sys.modules))
    connection.close()
    await closed.wait()


said = []
if front == "blocking":
    blocking(said)
else:
    asyncio.run(looping(said))
print(said)

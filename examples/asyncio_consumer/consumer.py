"""An asyncio program: messages come into a coroutine, which acknowledges each when its work is done.

    python examples/asyncio_consumer/consumer.py 3
    python examples/asyncio_consumer/producer.py one two three
"""

import asyncio
import sys

from asyncio_client import Client


async def main() -> None:
    """Work on as many messages as the command line says."""
    async with Client() as client:
        await client.declare("tasks")
        print("waiting for messages", flush=True)
        count = 0
        async for tag, body in client.messages("tasks", prefetch=10):
            print(f"received {body.decode()}", flush=True)
            await asyncio.sleep(0.01)  # other coroutines of the program have their turn
            client.channel.basic_ack(tag)
            count += 1
            if count == int(sys.argv[1]):
                break


asyncio.run(main())

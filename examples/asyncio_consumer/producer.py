"""Publish each argument as a persistent message, and wait until all are confirmed."""

import asyncio
import sys

from asyncio_client import Client


async def main() -> None:
    """All are published at once; one wait for all confirms."""
    async with Client() as client:
        await client.declare("tasks")
        await asyncio.gather(*(client.publish("tasks", body.encode()) for body in sys.argv[1:]))
        print(f"sent {len(sys.argv) - 1}")


asyncio.run(main())

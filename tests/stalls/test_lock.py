"""Somebody holds the store's write lock for long (taken off the processor, stopped): the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from haypile.hay.store import Hay
from tests.stalls.meter import Stalls
from tests.stalls.scenarios import FORK, Client, directory_of
from tests.support.vhosts import Vhost

#: Seconds that the lock is held.
HELD = 0.6
TAKEN = 80


def holder(ready: Any, go: Any, directory: Path) -> None:
    """Hold the write lock from ``go`` on, for a while."""
    hay = Hay.open(directory, create=False)
    ready.set()
    go.wait()
    with hay.exclusive():
        ready.set()
        time.sleep(HELD)
    hay.close()


class Program:
    """A client with a channel, messages in hand and a consumer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.got: list[bytes] = []
        self.confirmed: asyncio.Queue[Any] = asyncio.Queue()

    async def begin(self) -> None:
        """All that the operations need."""
        client = self.client
        self.channel, self.other, self.confirming = await client.open(), await client.channel(), await client.channel()
        await client.call(self.confirming.confirm_delivery, lambda frame: self.confirmed.put_nowait(frame.method))
        for name in ("ready", "held", "watched"):
            await client.call(self.channel.queue_declare, name)
        for number in range(TAKEN):
            self.channel.basic_publish("", "ready", b"%d" % number)
            self.channel.basic_publish("", "held", b"%d" % number)
        for _ in range(TAKEN):
            await self.get(self.other, "held")

    async def get(self, channel: Any, queue: str) -> Any:
        """basic.get's method, properties and body."""
        got = self.client.loop.create_future()
        channel.basic_get(queue, callback=lambda *result: got.set_result(result))
        return await got

    # -- operations ---------------------------------------------------------------------------

    async def declare(self) -> None:
        """A new queue."""
        await self.client.call(self.channel.queue_declare, "new")

    async def publish(self) -> None:
        """Without consumers: into the store."""
        self.confirming.basic_publish("", "ready", b"new")
        await self.confirmed.get()

    async def take(self) -> None:
        """basic.get."""
        await self.get(self.channel, "ready")

    async def consume(self) -> None:
        """From the store."""
        done = asyncio.Event()

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.got.append(body)
            if len(self.got) == TAKEN:
                done.set()

        await self.client.call(self.channel.basic_consume, "ready", on_message)
        await done.wait()
        assert self.got == [b"%d" % number for number in range(TAKEN)]

    async def settle(self) -> None:
        """Acknowledge some, give the rest back."""
        for tag in range(1, TAKEN - 1):
            self.other.basic_ack(tag)
        self.other.basic_nack(TAKEN - 1)
        self.other.basic_ack(TAKEN)
        assert await self.client.count(self.other, "held") == 1

    async def purge(self) -> None:
        """And publish again."""
        purged = self.client.call(self.channel.queue_purge, "ready")
        assert (await purged).method.message_count == TAKEN

    async def close_channel(self) -> None:
        """With messages in hand."""
        closed = self.client.loop.create_future()
        self.other.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
        self.other.close()
        await closed
        assert await self.client.count(self.channel, "held") == TAKEN

    async def close(self) -> None:
        """The connection."""
        await self.client.close()

    async def drop(self) -> None:
        """The connection, without a word."""
        self.client.connection.wire.fail(OSError("lost"))
        await self.client.closed
        await asyncio.sleep(HELD)

    async def open(self) -> None:
        """Another connection."""
        another = Client(self.client.url, self.client.stalls, 0)
        await another.open()
        await another.close()


OPERATIONS = ["declare", "publish", "take", "consume", "settle", "purge", "close_channel", "close", "drop", "open"]


def run(url: str, script: Callable[[Client], Awaitable[None]]) -> None:
    """``script`` in a new loop."""

    async def main() -> None:
        await script(Client(url, Stalls(), 0))

    asyncio.run(main())


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_loop_does_not_wait_for_the_lock(
    make_vhost: Callable[[str], Vhost], transport: str, operation: str
) -> None:
    """The operation does."""
    url = make_vhost(transport).url

    async def script(client: Client) -> None:
        program = Program(client)
        await program.begin()
        ready, go = FORK.Event(), FORK.Event()
        process = FORK.Process(target=holder, args=(ready, go, directory_of(url)))
        process.start()
        longest = 0.0

        async def tick() -> None:
            nonlocal longest
            before = time.monotonic()
            while True:
                await asyncio.sleep(0.001)
                now = time.monotonic()
                longest = max(longest, now - before)
                before = now

        assert await asyncio.to_thread(ready.wait, 20)
        ready.clear()
        go.set()
        assert await asyncio.to_thread(ready.wait, 20)
        start = time.monotonic()
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        await getattr(program, operation)()
        # It has waited, and the loop has not.
        assert time.monotonic() - start > HELD / 2
        await asyncio.sleep(0.01)
        ticking.cancel()
        assert longest < HELD / 2
        await asyncio.to_thread(process.join)
        if client.connection.is_open:
            await client.close()

    run(url, script)

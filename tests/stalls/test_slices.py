"""What is done piece by piece ends as if it had been done at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import haypile
from tests.stalls.meter import Stalls
from tests.stalls.scenarios import FORK, Client
from tests.support.vhosts import Vhost

MANY = 2000

pytestmark = pytest.mark.parametrize("transport", ["posix", "sysv"])


@pytest.fixture
def url(make_vhost: Callable[[str], Vhost], transport: str) -> str:
    """A fresh vhost's."""
    return make_vhost(transport).url


def run(url: str, script: Callable[[Client], Awaitable[None]]) -> None:
    """``script`` in a new loop."""

    async def main() -> None:
        await script(Client(url, Stalls(), MANY))

    asyncio.run(main())


def fill(url: str) -> None:
    """Numbers in a queue."""
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare("long")
        for number in range(MANY):
            channel.basic_publish("", "long", b"%d" % number)


def contents(url: str) -> list[tuple[bytes, bool]]:
    """What is in it: bodies, and whether they were delivered before."""
    found: list[tuple[bytes, bool]] = []
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        channel = connection.channel()
        while True:
            method, _, body = channel.basic_get("long", auto_ack=True)
            if method is None:
                return found
            found.append((body, method.redelivered))


async def take_all(client: Client) -> Any:
    """A channel that holds all of the queue."""
    channel = await client.open()
    held = asyncio.Event()

    def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if method.delivery_tag == MANY:
            held.set()

    reply = await client.call(channel.basic_consume, "long", take)
    await held.wait()
    await client.call(channel.basic_cancel, reply.method.consumer_tag)
    return channel


ALL_BACK = [(b"%d" % number, True) for number in range(MANY)]


@pytest.mark.parametrize("closing", ["at once", "nack before", "channel before", "dropped"])
def test_given_back(url: str, closing: str) -> None:
    """All messages return to their places."""
    fill(url)

    async def script(client: Client) -> None:
        channel = await take_all(client)
        if closing == "nack before":
            channel.basic_nack(0, multiple=True)
        elif closing == "channel before":
            channel.close()
        elif closing == "dropped":
            channel.basic_nack(0, multiple=True)
            client.connection.wire.fail(OSError("lost"))
            await client.closed
            return
        await client.close()

    run(url, script)
    assert contents(url) == ALL_BACK


def test_killed_between_two_pieces(url: str) -> None:
    """The next connection finds all of them."""
    fill(url)

    def program() -> None:
        async def script(client: Client) -> None:
            channel = await take_all(client)
            channel.basic_nack(0, multiple=True)
            for _ in range(20):
                await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGKILL)

        run(url, script)

    process = FORK.Process(target=program)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert contents(url) == ALL_BACK


def test_what_follows_waits(url: str) -> None:
    """Methods sent behind a purge, a deletion and a nack come after them, on whatever channel."""
    fill(url)

    async def script(client: Client) -> None:
        channel = await client.open()
        other = await client.channel()
        purged, deleted = client.loop.create_future(), client.loop.create_future()
        channel.queue_purge("long", callback=purged.set_result)
        other.basic_publish("", "long", b"new")
        assert (await purged).method.message_count == MANY
        assert await client.count(channel, "long") == 1
        for _ in range(MANY - 1):
            other.basic_publish("", "long", b"more")
        channel.queue_delete("long", callback=deleted.set_result)
        declared = await client.call(other.queue_declare, "long")
        assert declared.method.message_count == 0
        assert (await deleted).method.message_count == MANY
        await client.close()

    run(url, script)
    assert contents(url) == []

"""What an asyncio program does while its loop is measured.

Owns: the situations in which a loop could be kept, and the other processes that bring them about.
Must not know: how long is too long.

Each scenario is a coroutine over a ``Client``; what it does before ``begin()`` is not measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import haypile
from haypile import targets
from haypile.adapters.asyncio_connection import AsyncioConnection
from haypile.broker import ruling
from haypile.broker.policies import make_policy
from haypile.broker.ports import VhostTarget
from haypile.hay import journal as journals
from haypile.hay.store import Hay
from tests.stalls.meter import Stalls

PERSISTENT = haypile.BasicProperties(delivery_mode=2)
#: Seconds that the write lock is held by somebody else, and left alone, in turns; a slow disk's flush.
HELD, FREE, FLUSH = 0.02, 0.005, 0.05
FORK = multiprocessing.get_context("fork")


class Client:
    """An AsyncioConnection with coroutines."""

    def __init__(self, url: str, stalls: Stalls, many: int) -> None:
        self.url, self.stalls, self.many = url, stalls, many
        self.parameters = haypile.URLParameters(url)
        self.loop = asyncio.get_running_loop()
        self.connection: Any = None

    async def begin(self) -> None:
        """What comes now counts."""
        self.stalls.on = True
        await asyncio.sleep(0)

    async def end(self) -> None:
        """What comes now does not count."""
        self.stalls.on = False
        await asyncio.sleep(0)

    async def open(self) -> Any:
        """A channel of a new connection."""
        opened = self.loop.create_future()
        self.closed: asyncio.Future[Any] = self.loop.create_future()
        self.connection = AsyncioConnection(
            self.parameters,
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
            on_close_callback=lambda connection, error: self.closed.set_result(error),
        )
        await opened
        return await self.channel()

    async def channel(self) -> Any:
        """One more channel."""
        opened = self.loop.create_future()
        self.connection.channel(on_open_callback=opened.set_result)
        return await opened

    async def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The reply of ``method``."""
        done = self.loop.create_future()
        method(*arguments, **{"callback": done.set_result, **options})
        return await done

    async def close(self) -> None:
        """Close, and wait for it."""
        self.connection.close()
        await self.closed

    def fill(self, queue: str, properties: Any = None, **declare: Any) -> None:
        """``many`` messages in ``queue``, by another connection."""
        with haypile.BlockingConnection(haypile.URLParameters(self.url)) as connection:
            channel = connection.channel()
            channel.queue_declare(queue, **declare)
            for _ in range(self.many):
                channel.basic_publish("", queue, b"body", properties)

    async def count(self, channel: Any, queue: str) -> int:
        """Ready messages of ``queue``."""
        found: int = (await self.call(channel.queue_declare, queue, passive=True)).method.message_count
        return found


Scenario = Callable[[Client], Awaitable[None]]


# -- other processes --------------------------------------------------------------------------------


@contextmanager
def child(work: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """``work`` in a process of its own, killed at the end."""
    ready = FORK.Event()
    process = FORK.Process(target=work, args=(ready, *arguments), daemon=True)
    process.start()
    assert ready.wait(20)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def directory_of(url: str) -> Path:
    """Where the vhost lies."""
    target = targets.resolve(haypile.URLParameters(url))
    assert isinstance(target, VhostTarget)
    return target.directory


def hog(ready: Any, directory: Path) -> None:
    """Hold the write lock, again and again."""
    hay = Hay.open(directory, create=False)
    while True:
        with hay.exclusive():
            ready.set()
            time.sleep(HELD)
        time.sleep(FREE)


def take_and_keep(ready: Any, url: str, queue: str, most: int) -> None:
    """Take ``most`` messages and acknowledge none."""
    connection = haypile.BlockingConnection(haypile.URLParameters(url))
    channel = connection.channel()
    for got, _ in enumerate(channel.consume(queue), 1):
        if got == most:
            ready.set()
            time.sleep(600)


def stuck(ready: Any, url: str, queue: str) -> None:
    """A consumer that does not come to its kernel queue any more."""
    connection = haypile.BlockingConnection(haypile.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_consume(queue, print, auto_ack=True)
    connection.process_data_events(0)
    ready.set()
    os.kill(os.getpid(), signal.SIGSTOP)


# -- scenarios --------------------------------------------------------------------------------------


async def talk(client: Client, rounds: int = 5) -> None:
    """The whole of a connection's life."""
    channel = await client.open()
    for _ in range(rounds):
        await client.call(channel.queue_declare, "talk", durable=True)
        await client.call(channel.exchange_declare, "topic", "topic")
        await client.call(channel.queue_bind, "talk", "topic", "#")
        acks: asyncio.Queue[Any] = asyncio.Queue()
        confirming = await client.channel()
        await client.call(confirming.confirm_delivery, lambda frame, acks=acks: acks.put_nowait(frame.method))
        got: asyncio.Queue[Any] = asyncio.Queue()
        channel.basic_qos(prefetch_count=20)

        def take(channel: Any, method: Any, properties: Any, body: bytes, got: asyncio.Queue[Any] = got) -> None:
            got.put_nowait(method.delivery_tag)

        reply = await client.call(channel.basic_consume, "talk", take)
        for _ in range(20):
            confirming.basic_publish("topic", "key", b"body", PERSISTENT)
            confirming.basic_publish("topic", "key", b"body")
            await asyncio.sleep(0)  # a callback is to be as long as we make it, not as the program does
        for _ in range(20):
            channel.basic_ack(await got.get())
            channel.basic_nack(await got.get())
            await asyncio.sleep(0)
        while (await acks.get()).delivery_tag < 40:
            pass
        await client.call(channel.basic_cancel, reply.method.consumer_tag)
        await client.call(channel.basic_recover, True)
        await client.call(channel.queue_purge, "talk")
        await client.call(channel.exchange_delete, "topic")
        await client.call(channel.queue_delete, "talk")
        closing = confirming
        closed = client.loop.create_future()
        closing.add_on_close_callback(lambda channel, reason, closed=closed: closed.set_result(None))
        closing.close()
        await closed
    await client.close()


async def quiet(client: Client) -> None:
    """Nobody else is there."""
    await client.begin()
    await talk(client)


async def write_lock(client: Client) -> None:
    """Somebody else holds the write lock four fifths of the time."""
    client.fill("other")
    with child(hog, directory_of(client.url)):
        await client.begin()
        await talk(client, 2)
        await client.end()


async def slow_disk(client: Client) -> None:
    """A flush takes 50 ms."""
    write = journals.Journal._write

    def slow(journal: journals.Journal, *arguments: Any) -> None:
        time.sleep(FLUSH)
        write(journal, *arguments)

    journals.Journal._write = slow  # type: ignore[method-assign, assignment]
    try:
        await client.begin()
        await talk(client)
    finally:
        journals.Journal._write = write  # type: ignore[method-assign]


async def full_lane(client: Client) -> None:
    """Publishing to a consumer that is stopped."""
    with child(stuck, client.url, "full"):
        channel = await client.open()
        await client.begin()
        for number in range(client.many // 10):
            channel.basic_publish("", "full", b"body")
            if not number % 50:
                await asyncio.sleep(0)
        await client.close()
        await client.end()
    with haypile.BlockingConnection(haypile.URLParameters(client.url)):
        pass  # it sees to the one that was killed


async def purge(client: Client) -> None:
    """Purging a long queue."""
    client.fill("long")
    channel = await client.open()
    await client.begin()
    reply = await client.call(channel.queue_purge, "long")
    assert reply.method.message_count == client.many
    await client.close()


async def delete(client: Client) -> None:
    """Deleting a long queue."""
    client.fill("long")
    channel = await client.open()
    await client.begin()
    reply = await client.call(channel.queue_delete, "long")
    assert reply.method.message_count == client.many
    await client.close()


async def cancel(client: Client) -> None:
    """Cancelling the last consumer of a long auto-delete queue."""
    client.fill("long", auto_delete=True)
    channel = await client.open()
    await client.call(channel.basic_qos, prefetch_count=1)
    reply = await client.call(channel.basic_consume, "long", lambda *_: None)
    await client.begin()
    await client.call(channel.basic_cancel, reply.method.consumer_tag)
    await client.call(channel.queue_declare, "long")  # a new one
    assert not await client.count(channel, "long")
    await client.close()


async def policy(client: Client) -> None:
    """A limit comes by a policy to a queue that is much longer."""
    client.fill("long")
    channel = await client.open()
    await client.call(channel.basic_qos, prefetch_count=1)
    await client.call(channel.basic_consume, "long", lambda *_: None)
    session = client.connection.wire.session
    ruling.set_policy(session, make_policy("short", "^long$", {"max-length": 10}))  # AMQP has no way to do this
    await client.begin()
    while await client.count(channel, "long") > 10:
        await asyncio.sleep(0)
    await client.close()


async def delete_durable(client: Client) -> None:
    """Deleting a long queue of persistent messages."""
    client.fill("long", PERSISTENT, durable=True)
    channel = await client.open()
    await client.begin()
    reply = await client.call(channel.queue_delete, "long")
    assert reply.method.message_count == client.many
    await client.close()


async def exclusive(client: Client) -> None:
    """Closing a connection whose own queue is long."""
    channel = await client.open()
    await client.call(channel.queue_declare, "long", exclusive=True)
    for _ in range(client.many):
        channel.basic_publish("", "long", b"body")
    await client.begin()
    await client.close()


async def expiry(client: Client) -> None:
    """All messages of a long queue expire at once."""
    channel = await client.open()
    client.fill("long", haypile.BasicProperties(expiration="60000"), arguments={"x-message-ttl": 3000})
    await client.begin()
    deadline = time.monotonic() + 30
    while await client.count(channel, "long") and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not await client.count(channel, "long")
    await client.close()


async def dead_peer(client: Client) -> None:
    """A consumer is killed that had very many unacknowledged messages."""
    client.fill("long")
    channel = await client.open()
    with child(take_and_keep, client.url, "long", client.many) as process:
        await client.count(channel, "long")  # the first use of the store after a fork opens it anew
        await client.begin()
        process.kill()
        deadline = time.monotonic() + 30
        while await client.count(channel, "long") < client.many and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    assert await client.count(channel, "long") == client.many
    await client.close()


async def unacked(
    client: Client, settle: Callable[[Any, int], None], left: int, where: str = "long", watching: Any = None
) -> None:
    """Many messages in hand, settled at once; ``left`` are in queue ``where`` then, by what ``watching`` sees."""
    if where == "long":
        client.fill("long")
    channel = await client.open()
    tags: asyncio.Queue[int] = asyncio.Queue()
    await client.call(channel.basic_consume, "long", lambda c, method, p, b: tags.put_nowait(method.delivery_tag))
    tag = 0
    while tag < client.many:
        tag = await tags.get()
    channel.basic_cancel(channel.consumer_tags[0])
    other = watching or await client.channel()
    await client.begin()
    settle(channel, tag)
    deadline = time.monotonic() + 30
    while await client.count(other, where) < left and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert await client.count(other, where) == left
    if watching is None:
        await client.close()


async def ack_all(client: Client) -> None:
    """Acknowledging very many at once."""
    await unacked(client, lambda channel, tag: channel.basic_ack(tag, multiple=True), 0)


async def nack_all(client: Client) -> None:
    """Requeueing very many at once."""
    await unacked(client, lambda channel, tag: channel.basic_nack(tag, multiple=True), client.many)


async def reject_all(client: Client) -> None:
    """Dead-lettering very many at once."""
    with haypile.BlockingConnection(haypile.URLParameters(client.url)) as connection:
        connection.channel().queue_declare("dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    client.fill("long", arguments=arguments)

    def settle(channel: Any, tag: int) -> None:
        channel.basic_nack(tag, multiple=True, requeue=False)

    await unacked(client, settle, client.many, "dead")


async def close_channel(client: Client) -> None:
    """Closing a channel with very many unacknowledged messages."""
    await unacked(client, lambda channel, tag: channel.close(), client.many)


async def lost(client: Client) -> None:
    """The connection is lost with very many messages in hand."""

    def lose(channel: Any, tag: int) -> None:
        client.connection.wire.fail(OSError("lost"))

    other = Client(client.url, client.stalls, client.many)
    watching = await other.open()
    await unacked(client, lose, client.many, watching=watching)
    await other.close()


async def delivering(client: Client) -> None:
    """Consuming a long queue without a prefetch limit."""
    client.fill("long")
    channel = await client.open()
    done = asyncio.Event()
    got = 0

    def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal got
        got += 1
        if got == client.many:
            done.set()

    await client.begin()
    await client.call(channel.basic_consume, "long", take)
    await done.wait()
    channel.basic_ack(0, multiple=True)
    await client.close()


async def large(client: Client, size: int = 1 << 20) -> None:
    """Bodies of 1 MiB."""
    channel = await client.open()
    await client.call(channel.queue_declare, "large")
    got: asyncio.Queue[bytes] = asyncio.Queue()
    await client.call(channel.basic_consume, "large", lambda c, m, p, body: got.put_nowait(body), auto_ack=True)
    body = bytes(size)
    await client.begin()
    for _ in range(10):
        channel.basic_publish("", "large", body)
        assert len(await got.get()) == size
    await client.close()


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        quiet, write_lock, slow_disk, full_lane, purge, delete, delete_durable, exclusive, cancel, policy, expiry,
        dead_peer, ack_all, nack_all, reject_all, close_channel, lost, delivering, large,
    )
}  # fmt: skip

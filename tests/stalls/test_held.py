"""Another process holds the store's write lock until this test lets it go: the loop goes on without it.

Nothing here is measured. What waited for the lock would wait for ever.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import haypile
from haypile.broker import ending, recovery
from haypile.hay import journal as journals
from haypile.hay.store import Hay
from tests.stalls.meter import Stalls
from tests.stalls.scenarios import PERSISTENT, Client, directory_of
from tests.support.vhosts import Vhost

SPAWN = multiprocessing.get_context("fork")
#: Turns of the loop in which nothing may happen that needs the lock.
TURNS = 30

pytestmark = pytest.mark.parametrize("transport", ["posix", "sysv"])


class Neighbour:
    """A process with a connection and a hand on the lock. Each call waits for its end."""

    def __init__(self, url: str) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=self._serve, args=(url, theirs), daemon=True)
        self._process.start()
        assert self._pipe.recv() == "ready"

    def do(self, what: str) -> None:
        """``hold``, ``free``, ``consume``, ``cancel``, ``take``."""
        self._pipe.send(what)
        assert self._pipe.recv() == what

    def end(self) -> None:
        """It is not needed any more."""
        self._pipe.send("free")
        self._pipe.send("end")
        self._process.join()
        self._pipe.close()

    @staticmethod
    def _serve(url: str, pipe: Any) -> None:
        connection = haypile.BlockingConnection(haypile.URLParameters(url))
        channel = connection.channel()
        hay = Hay.open(directory_of(url), create=False)
        held = None
        pipe.send("ready")
        while (what := pipe.recv()) != "end":
            if what == "hold":
                held = hay.exclusive()
                held.__enter__()
            elif what == "free" and held is not None:
                held.__exit__()
                held = None
            elif what == "consume":
                tag = channel.basic_consume("queue", print, auto_ack=True)
            elif what == "cancel":
                channel.basic_cancel(tag)
            pipe.send(what)
        connection.close()


@contextmanager
def neighbour(url: str) -> Iterator[Neighbour]:
    """One for a block."""
    one = Neighbour(url)
    try:
        yield one
    finally:
        one.end()


def run(
    make_vhost: Callable[[str], Vhost], transport: str, script: Callable[[Client, Neighbour], Awaitable[None]]
) -> None:
    """``script`` in a new loop, beside a neighbour."""
    url = make_vhost(transport).url

    async def main(other: Neighbour) -> None:
        await script(Client(url, Stalls(), 0), other)

    with neighbour(url) as other:
        asyncio.run(main(other))


async def turns() -> None:
    """The loop does what it can."""
    for _ in range(TURNS):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("way", ["short", "plain", "confirmed"])
def test_a_lane_that_is_given_up_while_we_send(
    make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch, transport: str, way: str
) -> None:
    """The message is brought home when the lock is free, and confirmed then."""

    async def script(client: Client, other: Neighbour) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "queue")
        confirms: asyncio.Queue[Any] = asyncio.Queue()
        if way == "confirmed":
            await client.call(channel.confirm_delivery, confirms.put_nowait)
        other.do("consume")
        if way == "short":
            channel.basic_publish("", "queue", b"first")  # finds the short way
        session = client.connection.wire.session
        queue = session.vhost.topology
        queue.sync()
        handle = session.handle_for(queue.queues["queue"])
        lane = handle.current_lane()
        send = type(lane).send

        def sends(lane: Any, record: bytes) -> Any:
            sent = send(lane, record)
            monkeypatch.setattr(type(lane), "send", send)
            other.do("cancel")
            other.do("hold")
            return sent

        # One message, into a lane of which the neighbour has taken leave when we look again.
        monkeypatch.setattr(type(lane), "send", sends)
        properties = None if way == "short" else haypile.BasicProperties(content_type="text/plain")
        channel.basic_publish("", "queue", b"body", properties)
        await turns()
        assert confirms.empty()
        other.do("free")
        if way == "confirmed":
            assert (await confirms.get()).method.delivery_tag == 1
        second = await client.channel()
        bodies = [b"first", b"body"] if way == "short" else [b"body"]
        assert await client.count(second, "queue") == len(bodies)
        for body in bodies:
            got = client.loop.create_future()
            second.basic_get("queue", callback=lambda *result, got=got: got.set_result(result))
            assert (await got)[3] == body
        await client.close()

    run(make_vhost, transport, script)


def test_consumers_that_are_full(make_vhost: Callable[[str], Vhost], transport: str) -> None:
    """Where priorities differ they say so to those below, who are to go on: as soon as the lock is free."""

    async def script(client: Client, other: Neighbour) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "queue")
        other.do("consume")
        await client.call(channel.basic_qos, prefetch_count=1)
        got: asyncio.Queue[Any] = asyncio.Queue()
        await client.call(
            channel.basic_consume, "queue", lambda *delivery: got.put_nowait(delivery), arguments={"x-priority": 5}
        )
        session = client.connection.wire.session
        (source,) = session.sources.values()
        publishing = await client.channel()
        publishing.basic_publish("", "queue", b"one")
        await got.get()
        publishing.basic_publish("", "queue", b"two")
        while not source.said:
            await asyncio.sleep(0.001)
        other.do("hold")
        channel.basic_ack(1)
        await turns()
        assert source.said
        other.do("free")
        await got.get()  # which it is given after it has said that it is not full
        await client.close()

    run(make_vhost, transport, script)


def test_confirms_beside_a_flush(
    make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """What is safe is looked up while the disk is busy in another thread."""
    go = SPAWN.Event()
    write = journals.Journal._write

    def slow(journal: journals.Journal, *arguments: Any) -> None:
        go.wait()
        write(journal, *arguments)

    async def script(client: Client, other: Neighbour) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "queue", durable=True)
        session = client.connection.wire.session
        while session.journaling.deadline or session.journaling.flushing:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(journals.Journal, "_write", slow)
        confirms: asyncio.Queue[Any] = asyncio.Queue()
        await client.call(channel.confirm_delivery, confirms.put_nowait)
        channel.basic_publish("", "queue", b"body", PERSISTENT)
        await turns()
        assert session.journaling.writing
        other.do("hold")
        session.settle()
        await turns()
        assert session.journaling.waiting
        assert confirms.empty()
        go.set()
        other.do("free")
        assert (await confirms.get()).method.delivery_tag == 1
        await client.close()

    run(make_vhost, transport, script)


@pytest.mark.parametrize("end", ["closed", "lost"])
@pytest.mark.parametrize("moment", ["before", "between"])
def test_the_end_of_a_connection(
    make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch, transport: str, end: str, moment: str
) -> None:
    """The lock is held before it begins, or from the instant at which it has given back what it held."""

    async def script(client: Client, other: Neighbour) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "queue")
        channel.basic_publish("", "queue", b"body")
        got = client.loop.create_future()
        channel.basic_get("queue", callback=lambda *result: got.set_result(result))
        await got
        leave, release = recovery.leave, ending.release
        released = []

        def leaves(session: Any) -> None:
            leave(session)
            released.append(session)

        def releases(session: Any) -> None:
            other.do("hold")
            release(session)

        monkeypatch.setattr(recovery, "leave", leaves)
        if moment == "between":
            monkeypatch.setattr(ending, "release", releases)
        else:
            other.do("hold")
        if end == "closed":
            client.connection.close()
        else:
            client.connection.wire.fail(OSError("lost"))
        await turns()
        assert bool(released) == (moment == "between")
        # Its answer comes when all is done.
        assert client.closed.done() == (end == "lost")
        monkeypatch.setattr(ending, "release", release)
        other.do("free")
        await client.closed
        another = Client(client.url, Stalls(), 0)
        second = await another.open()
        while not await another.count(second, "queue"):
            await asyncio.sleep(0.001)
        await another.close()

    run(make_vhost, transport, script)

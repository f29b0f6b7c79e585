"""AsyncioConnection does not keep its loop from other work: what waits for a disk is done elsewhere."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import exceptions

import haypile
from haypile.adapters.asyncio_connection import AsyncioConnection
from haypile.hay import journal as journals
from haypile.hay.errors import OutOfRoom
from haypile.hay.store import Hay
from haypile.wires import workers
from tests.support.vhosts import Vhost

#: Seconds that the disk of these tests takes for a flush.
SLOW = 0.3
PERSISTENT = haypile.BasicProperties(delivery_mode=2)

pytestmark = pytest.mark.parametrize("transport", ["posix", "sysv"])


@pytest.fixture
def vhost(make_vhost: Callable[[str], Vhost], transport: str) -> Vhost:
    """A local one."""
    return make_vhost(transport)


class Disk:
    """A journal's writes, seen and slowed down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[threading.Thread] = []
        self.written = 0
        self.errors: list[Exception] = []
        write = journals.Journal._write

        def slow(journal: journals.Journal, *arguments: Any) -> None:
            self.threads.append(threading.current_thread())
            time.sleep(SLOW)
            if self.errors:
                raise self.errors.pop()
            write(journal, *arguments)
            self.written += 1

        monkeypatch.setattr(journals.Journal, "_write", slow)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A slow one."""
    yield Disk(monkeypatch)
    gc.collect()


class Program:
    """A connection with futures where pika has callbacks, and the longest time that its loop was kept busy."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.get_running_loop()
        self.longest = 0.0
        self.acks: asyncio.Queue[Any] = asyncio.Queue()
        self.closed: asyncio.Future[BaseException] = self.loop.create_future()
        self.ticking = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        """Measure."""
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - start)

    async def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """``method``'s callback argument."""
        done = self.loop.create_future()
        method(*arguments, **{"callback": done.set_result, **options})
        return await done

    async def open(self) -> Any:
        """A channel with confirms, and a durable queue."""
        opened = self.loop.create_future()
        self.connection = AsyncioConnection(
            haypile.URLParameters(self.url),
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda connection, error: opened.set_exception(error),
            on_close_callback=lambda connection, error: self.closed.set_result(error),
        )
        await opened
        channel_open = self.loop.create_future()
        channel = self.connection.channel(on_open_callback=channel_open.set_result)
        await channel_open
        await self.call(channel.queue_declare, "queue", durable=True)
        await self.call(channel.confirm_delivery, lambda frame: self.acks.put_nowait(frame.method))
        return channel

    async def close(self) -> BaseException:
        """Close, and wait for it."""
        if self.connection.is_open:
            self.connection.close()
        return await self.closed


def run(url: str, script: Callable[[Program], Awaitable[None]]) -> Program:
    """``script`` with a program on a new loop."""

    async def main() -> Program:
        program = Program(url)
        try:
            await script(program)
        finally:
            program.ticking.cancel()
        return program

    return asyncio.run(main())


def test_confirms_wait_for_the_disk_and_the_loop_does_not(vhost: Vhost, disk: Disk) -> None:
    """One flush at a time serves all that came before it."""
    program: Program

    async def script(program: Program) -> None:
        channel = await program.open()
        for _ in range(3):
            before = disk.written
            for _ in range(10):
                channel.basic_publish("", "queue", b"body", PERSISTENT)
            tag = 0
            while tag % 10 or not tag:
                tag = (await program.acks.get()).delivery_tag
            assert disk.written > before
        assert program.longest < SLOW / 2
        await program.close()

    program = run(vhost.url, script)
    assert program.longest < SLOW / 2
    assert disk.written >= 3
    assert threading.main_thread() not in disk.threads
    workers.join()
    assert workers.idle()


def test_close_waits_for_the_disk_and_the_loop_does_not(vhost: Vhost, disk: Disk) -> None:
    """What was published without a confirm is on disk when the connection is closed."""

    async def script(program: Program) -> None:
        channel = await program.open()
        channel.basic_publish("", "queue", b"body", PERSISTENT)
        assert isinstance(await program.close(), exceptions.ConnectionClosedByClient)
        assert disk.written

    assert run(vhost.url, script).longest < SLOW / 2
    assert threading.main_thread() not in disk.threads


def test_a_full_disk_is_tried_again(vhost: Vhost, disk: Disk) -> None:
    """The confirm comes when there is room."""

    async def script(program: Program) -> None:
        channel = await program.open()
        await asyncio.sleep(2 * SLOW)
        disk.errors.append(OutOfRoom("no room left for the journal"))
        channel.basic_publish("", "queue", b"body", PERSISTENT)
        assert (await program.acks.get()).delivery_tag == 1
        assert not disk.errors
        await program.close()

    assert run(vhost.url, script).longest < SLOW / 2


def test_a_broken_disk_ends_the_connection(vhost: Vhost, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """As a vhost that fails does: the stream is lost."""

    async def script(program: Program) -> None:
        channel = await program.open()
        await asyncio.sleep(2 * SLOW)
        disk.errors.append(OSError(5, "Input/output error"))
        channel.basic_publish("", "queue", b"body", PERSISTENT)
        error = await program.closed
        assert isinstance(error, exceptions.StreamLostError)
        assert "Input/output error" in str(error)
        assert program.acks.empty()

    assert run(vhost.url, script).longest < SLOW / 2
    # The log has the traceback, and that what its frames had in hand.
    caplog.clear()


def test_opening_does_not_keep_the_loop(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes long to open."""
    opening = Hay.open

    def slow(*arguments: Any, **options: Any) -> Hay:
        time.sleep(SLOW)
        return opening(*arguments, **options)

    monkeypatch.setattr(Hay, "open", slow)

    async def script(program: Program) -> None:
        await program.open()
        await program.close()

    assert run(vhost.url, script).longest < SLOW / 2


def test_opening_takes_no_longer_than_it_may(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """``stack_timeout`` holds while the store is opened, and nothing is left of it."""
    opening = Hay.open

    def slow(*arguments: Any, **options: Any) -> Hay:
        time.sleep(SLOW)
        return opening(*arguments, **options)

    monkeypatch.setattr(Hay, "open", slow)

    async def script(program: Program) -> None:
        program.url += f"?stack_timeout={SLOW / 10}"
        with pytest.raises(exceptions.AMQPConnectionError) as caught:
            await program.open()
        assert "Timeout while opening vhost" in repr(caught.value)
        await asyncio.sleep(2 * SLOW)

    run(vhost.url, script)


HASTY = """
import asyncio, os, pika
from pika.adapters.asyncio_connection import AsyncioConnection


def opened(connection):
    connection.channel(on_open_callback=channel_open)


def channel_open(channel):
    channel.queue_declare("queue", durable=True, callback=lambda frame: publish(channel))


def publish(channel):
    channel.basic_publish("", "queue", b"body", pika.BasicProperties(delivery_mode=2))
    channel.connection.close()
    loop.stop()


loop = asyncio.new_event_loop()
AsyncioConnection(pika.URLParameters(os.environ["AMQP_URL"]), on_open_callback=opened, custom_ioloop=loop)
loop.run_forever()
"""


def test_a_loop_that_ends_first(vhost: Vhost, tmp_path: Path) -> None:
    """A program that does not wait for its connection to close: the end of the process sees to it."""
    program = tmp_path / "hasty.py"
    program.write_text(HASTY)
    done = vhost.run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with haypile.BlockingConnection(haypile.URLParameters(vhost.url)) as connection:
        assert connection.channel().queue_declare("queue", passive=True).method.message_count == 1

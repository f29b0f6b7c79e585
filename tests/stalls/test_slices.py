"""What is done piece by piece ends as if it had been done at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import haypile
from haypile.broker import ruling
from haypile.broker.policies import make_policy
from haypile.wires import workers
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
    workers.join()  # which go on when the loop has ended
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


def last_consumer(client: Client, channel: Any) -> Any:
    """Begins to consume what it never acknowledges."""
    return client.call(channel.basic_consume, "auto", lambda *_: None)


@pytest.mark.parametrize("ending", ["cancel", "channel", "error", "connection"])
def test_a_long_auto_delete_queue_goes_with_its_last_consumer(url: str, ending: str) -> None:
    """Whole: one declared by that name afterwards is new. What it held in hand does not come back."""

    async def script(client: Client) -> None:
        channel = await client.open()
        other = await client.channel()
        await client.call(channel.queue_declare, "auto", auto_delete=True)
        for number in range(MANY):
            other.basic_publish("", "auto", b"%d" % number)
        await client.call(channel.basic_qos, prefetch_count=1)
        reply = await last_consumer(client, channel)
        if ending == "cancel":
            await client.call(channel.basic_cancel, reply.method.consumer_tag)
        elif ending == "channel":
            closed = client.loop.create_future()
            channel.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
            channel.close()
            await closed
        elif ending == "error":
            closed = client.loop.create_future()
            channel.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
            channel.basic_ack(MANY)
            assert (await closed).reply_code == 406
        else:
            await client.close()
            return
        declared = await client.call(other.queue_declare, "auto", auto_delete=True)
        assert declared.method.message_count == 0
        await client.close()

    run(url, script)
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        declared = connection.channel().queue_declare("auto", auto_delete=True)
        assert declared.method.message_count == 0


def test_a_consumer_that_comes_meanwhile_is_told(url: str) -> None:
    """While the queue is emptied piece by piece, somebody else subscribes: cancelled, as by a deletion."""

    async def script(client: Client) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "auto", auto_delete=True)
        for number in range(MANY):
            channel.basic_publish("", "auto", b"%d" % number)
        await client.call(channel.basic_qos, prefetch_count=1)
        reply = await last_consumer(client, channel)
        other = Client(client.url, client.stalls, 0)
        late = await other.open()
        cancelled = client.loop.create_future()
        late.add_on_cancel_callback(lambda frame: cancelled.set_result(frame.method))
        await other.call(late.basic_qos, prefetch_count=1)
        gone = client.loop.create_future()
        channel.basic_cancel(reply.method.consumer_tag, callback=gone.set_result)
        assert not gone.done()
        await last_consumer(other, late)
        await asyncio.wait_for(cancelled, 20)
        await asyncio.wait_for(gone, 20)
        declared = await client.call(channel.queue_declare, "auto", auto_delete=True)
        assert declared.method.message_count == 0
        await other.close()
        await client.close()

    run(url, script)


@pytest.mark.parametrize("how", ["ack", "nack", "reject"])
@pytest.mark.parametrize("last", [MANY, MANY - 300, 700])
def test_settled_up_to_a_tag(url: str, how: str, last: int) -> None:
    """All that the call names, and nothing else; what is asked behind it waits for its end."""
    with haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        connection.channel().queue_declare("dead")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        connection.channel().queue_declare("long", arguments=arguments)
        channel = connection.channel()
        for number in range(MANY):
            channel.basic_publish("", "long", b"%d" % number)

    async def script(client: Client) -> None:
        channel = await take_all(client)
        other = await client.channel()
        if how == "ack":
            channel.basic_ack(last, multiple=True)
        else:
            channel.basic_nack(last, multiple=True, requeue=how == "nack")
        assert await client.count(other, "long") == (last if how == "nack" else 0)
        assert await client.count(other, "dead") == (last if how == "reject" else 0)
        await client.close()

    run(url, script)
    back = 0 if how == "nack" else last
    assert contents(url) == [(b"%d" % number, True) for number in range(back, MANY)]


@pytest.mark.parametrize("how", ["basic_ack", "basic_nack"])
def test_a_tag_that_is_unknown(url: str, how: str) -> None:
    """Settles nothing, and ends the channel."""
    fill(url)

    async def script(client: Client) -> None:
        channel = await take_all(client)
        closed = client.loop.create_future()
        channel.add_on_close_callback(lambda channel, reason: closed.set_result(reason))
        getattr(channel, how)(MANY + 1, multiple=True)
        reason = await closed
        assert (reason.reply_code, reason.reply_text) == (406, f"PRECONDITION_FAILED - unknown delivery tag {MANY + 1}")
        await client.close()

    run(url, script)
    assert contents(url) == ALL_BACK


def test_shortened_by_a_policy(url: str) -> None:
    """To its new length, from the head; what is published behind it is the newest."""
    fill(url)

    async def script(client: Client) -> None:
        channel = await client.open()
        session = client.connection.wire.session
        await client.call(channel.basic_qos, prefetch_count=1)
        await client.call(channel.basic_consume, "long", lambda *_: None)
        ruling.set_policy(session, make_policy("short", "^long$", {"max-length": 10}))
        assert session.pressure.waiting
        channel.basic_publish("", "long", b"new")
        assert await client.count(channel, "long") == 10
        await client.close()

    run(url, script)
    kept = [(b"%d" % number, False) for number in range(MANY - 9, MANY)]
    assert [one for one in contents(url) if one[0] != b"0"] == [*kept, (b"new", False)]

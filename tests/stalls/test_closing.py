"""Closing an asyncio connection that holds persistent messages: the disk is waited for in another thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pika
import pytest

from haypile.hay import journal as journals
from tests.stalls.scenarios import Client
from tests.stalls.test_slices import contents, run
from tests.support.vhosts import Vhost

#: Seconds that a flush takes here; the loop may be kept by other work of the machine, but never so long.
DISK = 1.0
MESSAGES = 20


async def longest_pause(until: asyncio.Future[Any]) -> float:
    """The longest time in which the loop did nothing."""
    longest, last = 0.0, time.monotonic()
    while not until.done():
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("settled", ["all unacked", "half acked"])
def test_the_loop_turns_while_the_disk_works(
    make_vhost: Callable[[str], Vhost], monkeypatch: pytest.MonkeyPatch, transport: str, settled: str
) -> None:
    url = make_vhost(transport).url
    write = journals.Journal._write

    def slow(journal: journals.Journal, *arguments: Any) -> None:
        time.sleep(DISK)
        write(journal, *arguments)

    async def script(client: Client) -> None:
        channel = await client.open()
        await client.call(channel.queue_declare, "long", durable=True)
        monkeypatch.setattr(journals.Journal, "_write", slow)
        for number in range(MESSAGES):
            channel.basic_publish("", "long", b"%d" % number, pika.BasicProperties(delivery_mode=2))
        held = asyncio.Event()

        def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            if method.delivery_tag == MESSAGES:
                held.set()

        await client.call(channel.basic_consume, "long", take)
        await held.wait()
        if settled == "half acked":
            channel.basic_ack(MESSAGES // 2, multiple=True)
        client.connection.close()
        assert await longest_pause(client.closed) < DISK / 2

    run(url, script)
    monkeypatch.setattr(journals.Journal, "_write", write)
    left = MESSAGES // 2 if settled == "half acked" else 0
    assert contents(url) == [(b"%d" % number, True) for number in range(left, MESSAGES)]

"""An asyncio loop has its turn in the middle of what takes long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.stalls.measuring import measure
from tests.stalls.meter import Stalls
from tests.stalls.scenarios import Client
from tests.support.vhosts import Vhost

#: Messages: so many that doing it in one go would be nearly all the work there is.
MANY = 4000


UNACKED = ["dead-peer", "ack-all", "nack-all", "reject-all", "close-channel"]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("name", ["purge", "delete", "exclusive", "cancel", "policy", "expiry", *UNACKED])
def test_long_work_is_sliced(make_vhost: Callable[[str], Vhost], transport: str, name: str) -> None:
    """No callback does more than a part of it."""
    stalls = measure(name, make_vhost(transport).url, MANY)
    assert stalls.worked < stalls.work / 3, stalls.working


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_deliveries_take_turns_with_other_work(make_vhost: Callable[[str], Vhost], transport: str) -> None:
    """It is the time that counts, not the number: of messages that take long to be seen to, few come in one turn."""
    url = make_vhost(transport).url
    messages, turns = 56, 0

    async def script() -> None:
        nonlocal turns
        client = Client(url, Stalls(), messages)
        client.fill("long")
        channel = await client.open()
        done = asyncio.Event()

        def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            until = time.monotonic() + 0.001
            while time.monotonic() < until:
                pass
            if method.delivery_tag == messages:
                done.set()

        channel.basic_consume("long", take, auto_ack=True)
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)
        await client.close()

    asyncio.run(script())
    assert turns >= messages / 8

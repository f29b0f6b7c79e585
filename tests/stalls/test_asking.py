"""In a connection's life an asyncio loop's thread asks for nothing that it would have to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.stalls.asking import asked
from tests.stalls.meter import Stalls
from tests.stalls.scenarios import SCENARIOS, Client
from tests.support.vhosts import Vhost

#: Messages where many are meant.
MANY = 700
#: What takes seconds whatever it asks for.
SLOW = {"expiry"}


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in SLOW])
def test_nothing_to_wait_for(make_vhost: Callable[[str], Vhost], transport: str, name: str) -> None:
    """No lock but by trying, no disk, no sleep."""
    stalls = Stalls(on=False)

    async def main() -> None:
        await SCENARIOS[name](Client(make_vhost(transport).url, stalls, MANY))

    with asked(lambda: stalls.on) as found:
        asyncio.run(main())
    assert not found.calls

"""In a connection's life an asyncio loop's thread asks for nothing that it would have to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from haypile.hay import haste
from haypile.hay.store import Hay
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


@pytest.mark.parametrize("held", [False, True], ids=["free", "held ahead"])
def test_a_transaction_that_might_wait_is_seen(state_directory: Path, held: bool) -> None:
    """Whether the lock is free or not; no wait is possible where the thread has it already."""
    with asked(lambda: True) as found:
        hay = Hay.open(state_directory / "hay")
        found.calls.clear()
        if held:
            assert haste.hold(hay)
        with hay.write():
            pass
        seen = [call.partition(":")[0] for call in found.calls]
        if held:
            haste.let_go(hay)
        hay.close()
    assert seen == ([] if held else ["lockf"])

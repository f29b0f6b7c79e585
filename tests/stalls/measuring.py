"""One scenario, measured."""

from __future__ import annotations

import asyncio
import gc

from tests.stalls.asking import asked
from tests.stalls.meter import Stalls, measured
from tests.stalls.scenarios import SCENARIOS, Client


def measure(name: str, url: str, many: int) -> Stalls:
    """Run one scenario."""

    async def main(stalls: Stalls) -> None:
        await SCENARIOS[name](Client(url, stalls, many))

    gc.collect()
    gc.disable()  # its pauses are not ours
    try:
        with measured() as stalls, asked(lambda: stalls.on) as found:
            stalls.on = False
            asyncio.run(main(stalls))
        stalls.asked = found.calls
    finally:
        gc.enable()
    return stalls

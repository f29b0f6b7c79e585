"""Every scenario, in the order it is run and printed.

One file per noun; each has ``SCENARIOS``. Adding a file means adding it here.
"""

from __future__ import annotations

from bench.scenarios import (
    acknowledging,
    asyncio_front,
    backlog,
    binding,
    confirming,
    crowd,
    end_to_end,
    expiring,
    fan_out,
    idling,
    opening,
    persisting,
    round_trip,
    through_store,
)
from bench.scenarios.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *end_to_end.SCENARIOS,
    *through_store.SCENARIOS,
    *acknowledging.SCENARIOS,
    *persisting.SCENARIOS,
    *expiring.SCENARIOS,
    *confirming.SCENARIOS,
    *round_trip.SCENARIOS,
    *asyncio_front.SCENARIOS,
    *fan_out.SCENARIOS,
    *crowd.SCENARIOS,
    *binding.SCENARIOS,
    *opening.SCENARIOS,
    *idling.SCENARIOS,
    *backlog.SCENARIOS,
)

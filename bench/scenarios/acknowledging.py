"""One producer, one consumer that acknowledges each message, at different prefetch counts."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.rivals import LIMITS, RIVALS
from bench.scenarios.scenario import Scale, Scenario, one_to_one
from bench.transports import Transport


def work(scale: Scale) -> int:
    """Messages of one run, unless each has to be waited for."""
    return scale.pick(300, 8_000, 30_000)


def sample(prefetch: int, size: int, scale: Scale, transport: Transport) -> Sample:
    # Prefetch 1 waits for the broker at each message.
    count = scale.pick(100, 2_500, 10_000) if prefetch == 1 else work(scale)
    return one_to_one(transport, ["--ack", "--prefetch", str(prefetch)], ["--size", str(size)], count)


SCENARIOS = (
    Scenario("ack-prefetch-1", "1 to 1, ack each, prefetch 1, 100 B", partial(sample, 1, 100)),
    Scenario("ack-prefetch-100", "1 to 1, ack each, prefetch 100, 100 B", partial(sample, 100, 100)),
    Scenario(
        "ack-prefetch-100-5KB",
        "1 to 1, ack each, prefetch 100, 5 KB",
        partial(sample, 100, 5000),
        # What the bare kernel queue does with no thought of a crash.
        {name: partial(RIVALS[name].through, 5000, work=work) for name in LIMITS},
    ),
    Scenario("ack-unlimited", "1 to 1, ack each, no prefetch limit, 100 B", partial(sample, 0, 100)),
)

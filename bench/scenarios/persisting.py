"""One producer of persistent messages to a durable queue, without confirms, and one consumer."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, one_to_one
from bench.transports import Transport


def sample(consume: list[str], scale: Scale, transport: Transport, *, waits: bool = False) -> Sample:
    # Prefetch 1 waits for the broker at each message.
    count = scale.pick(100, 2_500, 10_000) if waits else scale.pick(200, 8_000, 30_000)
    return one_to_one(transport, ["--durable", *consume], ["--size", "100", "--persistent"], count)


SCENARIOS = (
    Scenario("persistent", "1 to 1, persistent to a durable queue, auto-ack, 100 B", partial(sample, [])),
    Scenario(
        "persistent-ack-100",
        "1 to 1, persistent to a durable queue, ack each, prefetch 100, 100 B",
        partial(sample, ["--ack", "--prefetch", "100"]),
    ),
    Scenario(
        "persistent-ack-1",
        "1 to 1, persistent to a durable queue, ack each, prefetch 1, 100 B",
        partial(sample, ["--ack", "--prefetch", "1"], waits=True),
    ),
)

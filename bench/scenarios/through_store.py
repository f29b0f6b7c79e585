"""One producer, one consumer, and messages that no kernel queue takes: they go through the store."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, one_to_one
from bench.transports import Transport


def sample(consume: list[str], produce: list[str], scale: Scale, transport: Transport) -> Sample:
    return one_to_one(transport, consume, ["--size", "100", *produce], scale.pick(40, 4_000, 16_000))


SCENARIOS = (
    Scenario(
        "store-expiration",
        "1 to 1, auto-ack, each message with an expiration, 100 B",
        partial(sample, [], ["--expiration", "600000"]),
    ),
)

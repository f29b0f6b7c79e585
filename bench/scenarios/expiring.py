"""One producer, one consumer, and a queue with a message TTL, long enough that nothing expires."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, one_to_one
from bench.transports import Transport

#: x-message-ttl, ms.
TTL = "5000"


def sample(consume: list[str], scale: Scale, transport: Transport) -> Sample:
    return one_to_one(transport, ["--ttl", TTL, *consume], ["--size", "100"], scale.pick(200, 8_000, 30_000))


SCENARIOS = (
    Scenario("ttl", "1 to 1, a queue with a message TTL, auto-ack, 100 B", partial(sample, [])),
    Scenario(
        "ttl-ack-100",
        "1 to 1, a queue with a message TTL, ack each, prefetch 100, 100 B",
        partial(sample, ["--ack", "--prefetch", "100"]),
    ),
)

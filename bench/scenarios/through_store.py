"""One producer, one consumer, and messages that no kernel queue takes: they go through the store."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import Stage
from bench.transports import Transport


def sample(queue_options: list[str], publish_options: list[str], scale: Scale, transport: Transport) -> Sample:
    queue = transport.unique("store")
    with Stage() as stage:
        consumer = transport.start(stage, "consume", "--queue", queue, *queue_options)
        producer = transport.start(stage, "produce", "--key", queue, "--size", "100", *publish_options)
        ready(consumer, producer)
        count = scale.pick(40, 4_000, 16_000)
        flow(transport, [producer], [consumer], count // 20)
        measured = flow(transport, [producer], [consumer], count).sample()
        producer.close()
        consumer.close(delete=True)
    return measured


SCENARIOS = (
    Scenario(
        "store-ttl",
        "1 to 1, auto-ack, a queue with a message TTL, 100 B",
        partial(sample, ["--ttl", "600000"], []),
    ),
    Scenario(
        "store-persistent",
        "1 to 1, auto-ack, persistent to a durable queue, no confirms, 100 B",
        partial(sample, ["--durable"], ["--persistent"]),
    ),
)

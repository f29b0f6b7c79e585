"""One message to many queues by a fanout exchange, one process for each queue."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import Stage
from bench.transports import Transport


def sample(queues: int, scale: Scale, transport: Transport) -> Sample:
    exchange = transport.unique("news")
    names = [transport.unique("fan") for _ in range(queues)]
    with Stage() as stage:
        consumers = [
            transport.start(stage, "consume", "--queue", name, "--exchange", exchange) for name in names
        ]
        ready(*consumers)
        producer = transport.start(stage, "produce", "--exchange", exchange, "--key", "", "--size", "100")
        ready(producer)
        count = scale.pick(50, 1_500, 6_000)
        flow(transport, [producer], consumers, count // 20, copies=queues)
        measured = flow(transport, [producer], consumers, count, copies=queues).sample()
        producer.close()
        for consumer in consumers:
            consumer.close(delete=True)
    return measured


SCENARIOS = (
    Scenario(
        "fan-out-10",
        "fan-out to 10 queues and processes, 100 B (deliveries)",
        partial(sample, 10),
        heavy=True,
    ),
)

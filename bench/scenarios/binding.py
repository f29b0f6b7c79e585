"""A topic exchange with many bindings: does routing slow down, and how fast are bindings made."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import PATIENCE, Stage
from bench.transports import Transport

#: The bindings are spread over this many queues; the messages go to the first.
QUEUES = 10


def sample(bindings: int, scale: Scale, transport: Transport) -> Sample:
    bindings = scale.pick(bindings // 50, bindings, bindings)
    exchange = transport.unique("topics")
    names = [transport.unique("topic") for _ in range(QUEUES)]
    with Stage() as stage:
        binder = transport.start(stage, "bind", "--exchange", exchange)
        consumer = transport.start(stage, "consume", "--queue", names[0])
        ready(binder, consumer)
        binder.tell("bind", queues=names, bindings=bindings)
        bound = binder.expect("bound", PATIENCE + bindings / 100)["seconds"]
        keys = ("--key", "site.{}.unit.temp", "--keys", str(bindings // QUEUES))
        producer = transport.start(stage, "produce", "--exchange", exchange, *keys, "--size", "100")
        ready(producer)
        count = scale.pick(200, 12_000, 40_000)
        flow(transport, [producer], [consumer], count // 10)
        measured = flow(transport, [producer], [consumer], count).sample()
        producer.close()
        consumer.close(delete=False)
        binder.close()
    return {**measured, "bind_rate": bindings / bound}


SCENARIOS = (
    Scenario(
        "topic-10000",
        "topic exchange with 10,000 bindings, 100 B",
        partial(sample, 10_000),
        rounds=2,
        heavy=True,
    ),
)

"""One producer, one consumer that acknowledges each message, at different prefetch counts."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.rivals import LIMITS, RIVALS
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import Stage
from bench.transports import Transport


def work(scale: Scale) -> int:
    """Messages of one run, unless each has to be waited for."""
    return scale.pick(300, 8_000, 30_000)


def sample(prefetch: int, size: int, scale: Scale, transport: Transport) -> Sample:
    queue = transport.unique("acked")
    with Stage() as stage:
        consumer = transport.start(stage, "consume", "--queue", queue, "--ack", "--prefetch", str(prefetch))
        producer = transport.start(stage, "produce", "--key", queue, "--size", str(size))
        ready(consumer, producer)
        # Prefetch 1 waits for the broker at each message.
        count = scale.pick(100, 2_500, 10_000) if prefetch == 1 else work(scale)
        flow(transport, [producer], [consumer], count // 20)
        measured = flow(transport, [producer], [consumer], count).sample()
        producer.close()
        consumer.close(delete=True)
    return measured


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

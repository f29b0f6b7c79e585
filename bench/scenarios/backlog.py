"""Publishing 1 KB messages that nobody takes, to a great depth, and then taking them all.

The memory is what grew: RabbitMQ's own resident memory; or haypile's files together with the memory
of the publishing process that is no file's.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

from bench import procfs
from bench.metrics import Sample
from bench.scenarios.scenario import SLOWEST, Scale, Scenario, ready
from bench.stage import PATIENCE, Stage
from bench.transports import Transport

SIZE = 1024


def sample(scale: Scale, transport: Transport) -> Sample:
    count = scale.pick(500, 200_000, 1_000_000)
    patience = PATIENCE + count / SLOWEST
    queue = transport.unique("backlog")
    facts: dict[str, float | list[float]] = {}
    with Stage() as stage:
        producer = transport.start(stage, "produce", "--key", queue, "--size", str(SIZE), "--queue", queue)
        ready(producer)
        room, cpu = transport.helper_memory(), transport.helper_cpu()
        own = procfs.memory(producer.pid).anonymous
        producer.tell("publish", count=count, end=1, depth=count + 1)
        published = producer.expect("published", patience)
        if published["depth"] != count + 1:
            raise AssertionError(f"{transport.name}: depth {published['depth']} after {count + 1} messages")
        grown, spent = transport.helper_memory(), transport.helper_cpu()
        if room is not None and grown is not None:
            own = max(0, procfs.memory(producer.pid).anonymous - own)
            facts["memory"] = (grown - room + own) / (count * SIZE)
        if cpu is not None and spent is not None:
            facts["publish_cpu"] = (spent - cpu + published["cpu"]) / count * 1e6
        marks = published["marks"]
        tenths = [count / 10 / (later - sooner) for sooner, later in pairwise(marks)]
        facts["publish_rate"] = count / (published["synced"] - marks[0])
        facts["steadiness"] = min(tenths) / statistics.median(tenths)
        facts["tenths"] = tenths
        # What others run on the machine disturbs the rate, but not this.
        costs = [later - sooner for sooner, later in pairwise(published["spent"])]
        facts["growth"] = costs[-1] / statistics.median(costs)

        consumer = transport.start(stage, "consume", "--queue", queue)
        ready(consumer)
        cpu = transport.helper_cpu()
        consumer.tell("consume")
        consumer.expect("consuming")
        consumed = consumer.expect("consumed", patience)
        spent = transport.helper_cpu()
        if consumed["count"] != count:
            raise AssertionError(f"{transport.name}: {consumed['count']} of {count} messages came")
        facts["drain_rate"] = count / (consumed["end"] - consumed["start"])
        if cpu is not None and spent is not None:
            facts["cpu"] = (spent - cpu + consumed["cpu"]) / count * 1e6
        producer.close()
        consumer.close(delete=True)
    return facts


SCENARIOS = (Scenario("backlog", "publish with no consumer, then drain, 1 KB", sample, rounds=1),)

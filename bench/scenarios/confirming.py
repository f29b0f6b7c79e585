"""Publishing with a confirm awaited after each message, a consumer taking them meanwhile."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import SLOWEST, Scale, Scenario, flow, ready
from bench.stage import PATIENCE, Stage
from bench.transports import Transport


def sample(flags: tuple[str, ...], durable: bool, scale: Scale, transport: Transport) -> Sample:
    queue = transport.unique("confirmed")
    lasting = ("--durable",) if durable else ()
    with Stage() as stage:
        consumer = transport.start(stage, "consume", "--queue", queue, *lasting)
        producer = transport.start(stage, "produce", "--key", queue, "--size", "100", "--confirm", *flags)
        ready(consumer, producer)
        count = scale.pick(50, 1_500, 8_000)
        flow(transport, [producer], [consumer], count // 20)
        measured = flow(transport, [producer], [consumer], count)
        producer.close()
        consumer.close(delete=True)
    # The consumer keeps up; what counts is how fast the publisher may go.
    facts = {"publish_rate": count / measured.publish_seconds}
    if measured.cpu is not None:
        facts["cpu"] = measured.cpu / count * 1e6
    return facts


def sample_outstanding(scale: Scale, transport: Transport) -> Sample:
    """Persistent, on a durable queue, with up to 100 confirms awaited, by pika's SelectConnection."""
    queue = transport.unique("outstanding")
    with Stage() as stage:
        consumer = transport.start(stage, "consume", "--queue", queue, "--durable")
        ready(consumer)
        producer = transport.start(stage, "outstanding", "--key", queue, "--size", "100", "--persistent")
        ready(producer)
        consumer.tell("consume")
        consumer.expect("consuming")
        count = scale.pick(100, 5_000, 20_000)
        for part in (count // 20, count):
            producer.tell("publish", count=part)
            took = producer.expect("published", PATIENCE + count / SLOWEST)["seconds"]
        producer.close()
        end = transport.start(stage, "produce", "--key", queue, "--size", "1")
        ready(end)
        end.tell("end", count=1)
        end.close()
        consumer.expect("consumed")
        consumer.close(delete=True)
    return {"publish_rate": count / took}


SCENARIOS = (
    Scenario("confirm-transient", "publish confirmed each, transient, 100 B", partial(sample, (), False)),
    Scenario(
        "confirm-persistent",
        "publish confirmed each, persistent on a durable queue, 100 B",
        partial(sample, ("--persistent",), True),
    ),
    Scenario(
        "confirm-persistent-100",
        "publish persistent, 100 confirms outstanding, asynchronous, 100 B",
        sample_outstanding,
    ),
    Scenario(
        "confirm-mandatory",
        "publish confirmed each, mandatory, 100 B",
        partial(sample, ("--mandatory",), False),
    ),
)

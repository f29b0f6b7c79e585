"""Request and reply between two processes: how long until the answer is here."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample, percentile
from bench.rivals import RIVALS
from bench.scenarios.scenario import Scale, Scenario, ready
from bench.stage import PATIENCE, Stage
from bench.transports import Transport


def work(scale: Scale) -> int:
    """Round trips of one run."""
    return scale.pick(50, 2_000, 10_000)


def sample(scale: Scale, transport: Transport) -> Sample:
    queue = transport.unique("requests")
    with Stage() as stage:
        server = transport.start(stage, "reply", "--queue", queue)
        client = transport.start(stage, "request", "--queue", queue, "--size", "100")
        ready(server, client)
        count = work(scale)
        client.tell("ask", count=count // 20)
        client.expect("answered")
        client.tell("ask", count=count)
        took = client.expect("answered", PATIENCE + count / 100)["seconds"]
        client.close()
        with_end = transport.start(stage, "produce", "--key", queue, "--size", "1")
        ready(with_end)
        with_end.tell("end", count=1)
        with_end.close()
        server.leave()
    return summary(took)


def summary(seconds: list[float]) -> Sample:
    """Percentiles in microseconds."""
    return {
        "p50": percentile(seconds, 0.5) * 1e6,
        "p99": percentile(seconds, 0.99) * 1e6,
        "p999": percentile(seconds, 0.999) * 1e6,
    }


SCENARIOS = (
    Scenario(
        "round-trip",
        "request/reply round trip, 100 B",
        sample,
        {name: partial(rival.round_trip, work=work) for name, rival in RIVALS.items() if rival.answers},
    ),
)

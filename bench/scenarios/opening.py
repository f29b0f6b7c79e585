"""Opening and closing connections in a process that has one already."""

from __future__ import annotations

from bench.metrics import Sample, percentile
from bench.scenarios.scenario import Scale, Scenario
from bench.stage import Stage
from bench.transports import Transport


def sample(scale: Scale, transport: Transport) -> Sample:
    with Stage() as stage:
        program = transport.start(stage, "opening")
        first = program.expect("ready")["first"]
        program.tell("open", count=scale.pick(5, 100, 300))
        opened = program.expect("opened")
        program.close()
    return {
        "open": percentile(opened["seconds"], 0.5) * 1e3,
        "open_p99": percentile(opened["seconds"], 0.99) * 1e3,
        "close": percentile(opened["close_seconds"], 0.5) * 1e3,
        "first": first * 1e3,
    }


SCENARIOS = (Scenario("connect", "open a BlockingConnection", sample),)

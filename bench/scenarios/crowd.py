"""Several producers and several consumers on one queue, each its own process."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.scenarios.scenario import Scale, Scenario, flow, ready
from bench.stage import Stage
from bench.transports import Transport


def sample(producers: int, consumers: int, consuming: list[str], scale: Scale, transport: Transport) -> Sample:
    queue = transport.unique("crowd")
    with Stage() as stage:
        takers = [transport.start(stage, "consume", "--queue", queue, *consuming) for _ in range(consumers)]
        makers = [
            transport.start(stage, "produce", "--key", queue, "--size", "100", "--queue", queue)
            for _ in range(producers)
        ]
        ready(*takers, *makers)
        count = scale.pick(200, 12_000, 40_000)
        flow(transport, makers, takers, count // 20)
        measured = flow(transport, makers, takers, count).sample()
        for program in makers:
            program.close()
        for number, program in enumerate(takers):
            program.close(delete=number == consumers - 1)
    return measured


def _scenario(producers: int, consumers: int, ack: bool = False) -> Scenario:
    how = "ack each, prefetch 100" if ack else "auto-ack"
    return Scenario(
        f"crowd-{producers}x{consumers}{'-ack' if ack else ''}",
        f"{producers} producers, {consumers} consumers, one queue, {how}, 100 B",
        partial(sample, producers, consumers, ["--ack", "--prefetch", "100"] if ack else []),
        heavy=True,
    )


SCENARIOS = (_scenario(1, 4), _scenario(4, 1), _scenario(4, 4), _scenario(8, 8), _scenario(1, 4, ack=True))

"""Runs scenarios over contenders, interleaved and repeated, and keeps every sample.

Owns: the order of runs and what becomes of one that fails. Must not know: how anything is measured.

Contenders take turns within each round and every round begins with another, so that a busy spell of
the machine hits all of them alike and nobody always runs first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.metrics import METRICS, Sample
from bench.rivals import LIMITS, RIVALS
from bench.scenarios.scenario import Scale, Scenario
from bench.stage import ProgramError
from bench.transports import Transport

Progress = Callable[[str], None]


@dataclass
class Result:
    """All samples of one scenario: contender -> metric -> values, a value for each round."""

    scenario: Scenario
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    #: Contender -> lists that explain a metric, of the last round.
    details: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    #: How long all of it took.
    seconds: float = 0.0
    #: Contender -> why a round of it failed.
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, sample: Sample) -> None:
        for name, value in sample.items():
            if isinstance(value, list):
                self.details.setdefault(contender, {})[name] = value
            else:
                self.samples.setdefault(contender, {}).setdefault(name, []).append(value)

    def values(self, contender: str, metric: str) -> list[float]:
        return self.samples.get(contender, {}).get(metric, [])

    def metrics(self) -> list[str]:
        """The metrics that some contender has, in the order of their table."""
        seen = {name for metrics in self.samples.values() for name in metrics}
        return [name for name in METRICS if name in seen]


def contenders(
    scenario: Scenario, scale: Scale, transports: Sequence[Transport], rivals: str
) -> dict[str, Callable[[], Sample]]:
    """What is run for a scenario. ``rivals`` is "all", "limits" (the bare kernel queues) or "none"."""
    runs: dict[str, Callable[[], Sample]] = {
        transport.name: partial(scenario.sample, scale, transport) for transport in transports
    }
    if rivals != "none":
        for name, rival in scenario.rivals.items():
            if RIVALS[name].installed() and (rivals == "all" or name in LIMITS):
                runs[name] = partial(rival, scale)
    return runs


def run(
    scenario: Scenario, scale: Scale, runs: dict[str, Callable[[], Sample]], progress: Progress
) -> Result:
    """Every round of one scenario. A contender that fails is not asked again in this scenario."""
    result = Result(scenario)
    start = time.monotonic()
    names = list(runs)
    for number in range(scenario.repetitions(scale)):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            if name in result.failures:
                continue
            progress(f"{scenario.name} {number + 1} {name}")
            try:
                result.add(name, runs[name]())
            except (ProgramError, AssertionError) as error:
                result.failures[name] = str(error)
    result.seconds = time.monotonic() - start
    return result

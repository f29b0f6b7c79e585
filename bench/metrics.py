"""What is measured, in which unit, and which way is better.

Owns: names and units of metrics; the statistics over repeated samples.
Must not know: scenarios.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: One run of a scenario over one contender: metric name -> value; a list is detail for the JSON only.
Sample = Mapping[str, "float | list[float]"]


@dataclass(frozen=True)
class Metric:
    """A named number with a unit."""

    name: str
    unit: str
    more_is_better: bool
    title: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("rate", "msg/s", True, "messages"),
        Metric("publish_rate", "msg/s", True, "publishing"),
        Metric("drain_rate", "msg/s", True, "draining"),
        Metric("share", "", True, "messages / those of BlockingConnection"),
        Metric("lag", "", False, "round trip / that of BlockingConnection"),
        Metric("cpu", "us/msg", False, "CPU, broker included"),
        Metric("publish_cpu", "us/msg", False, "CPU of publishing, broker included"),
        Metric("steadiness", "", True, "slowest tenth / median tenth"),
        Metric("growth", "", False, "publisher's CPU, last tenth / median tenth"),
        Metric("memory", "B/B", False, "memory per byte of payload"),
        Metric("p50", "us", False, "p50"),
        Metric("p99", "us", False, "p99"),
        Metric("p999", "us", False, "p99.9"),
        Metric("bind_rate", "/s", True, "bindings made"),
        Metric("open", "ms", False, "open, median"),
        Metric("open_p99", "ms", False, "open, p99"),
        Metric("close", "ms", False, "close, median"),
        Metric("first", "ms", False, "first open in a process"),
        Metric("idle_cpu", "%", False, "CPU while idle"),
        Metric("wakes", "/s", False, "wake-ups while idle"),
        Metric("connection", "MB", False, "connection, over pika imported"),
        Metric("connection_own", "MB", False, "of it unshared"),
        Metric("consumer", "MB", False, "connection with a consumer"),
    )
}


class Spread(NamedTuple):
    """The median of some samples and their extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratios(metric: Metric, ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """How many times better ``ours`` is, round by round; None when ``theirs`` has no usable value.

    Rounds are paired because both ran within seconds of each other: what slows the machine for a
    while slows both.
    """
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=False) if a > 0 and b > 0]
    if not pairs:
        return None
    return Spread.of([a / b if metric.more_is_better else b / a for a, b in pairs])

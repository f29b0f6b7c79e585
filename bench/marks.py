"""The marks to reach, as data, and whether a run reached them.

Owns: each mark's scenario, metric and bound. Must not know: how anything is measured.

``base`` are the marks of the first release, ``goal`` those to grow to. All are for 1 producer and 1
consumer process unless the scenario says more, and for default kernel limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bench.metrics import METRICS, Spread, ratios
from bench.runner import Result


class Kind(Enum):
    """How a mark is read."""

    #: At least so many times better than the other contender, by the median of paired rounds.
    TIMES = "times"
    #: At most this value, absolutely, in the metric's unit.
    AT_MOST = "at most"
    #: At least this value.
    AT_LEAST = "at least"


@dataclass(frozen=True)
class Mark:
    """A bound on one metric of one scenario."""

    scenario: str
    metric: str
    kind: Kind
    bound: float
    #: The contender to compare with; "" is the same one, in another scenario.
    against: str = "amqp"
    #: The scenario to compare with, when it is another.
    other: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a mark; ``value`` is None when the run does not tell."""

    mark: Mark
    contender: str
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        if self.mark.kind is Kind.AT_MOST:
            return self.value <= self.mark.bound
        return self.value >= self.mark.bound


def _times(scenario: str, metric: str, bound: float, against: str = "amqp") -> Mark:
    return Mark(scenario, metric, Kind.TIMES, bound, against)


MARKS: dict[str, tuple[Mark, ...]] = {
    "base": (
        _times("end-to-end-100B", "rate", 6),
        _times("ack-prefetch-100", "rate", 5),
        _times("confirm-transient", "publish_rate", 8),
        _times("round-trip", "p50", 6),
        Mark("backlog", "memory", Kind.AT_MOST, 1.5),
        Mark("backlog", "steadiness", Kind.AT_LEAST, 0.7),
        Mark("connect", "open", Kind.AT_MOST, 5.0),
        Mark("idle-cpu", "idle_cpu", Kind.AT_MOST, 0.1),
    ),
    "goal": (
        _times("end-to-end-100B", "rate", 10),
        _times("end-to-end-5KB", "rate", 10),
        _times("ack-prefetch-100", "rate", 10),
        _times("ack-prefetch-1", "rate", 8),
        _times("confirm-transient", "publish_rate", 12),
        _times("confirm-persistent", "publish_rate", 2),
        _times("confirm-persistent-100", "publish_rate", 4),
        _times("round-trip", "p50", 12),
        _times("round-trip", "p99", 6),
        _times("fan-out-10", "rate", 6),
        _times("crowd-8x8", "rate", 8),
        Mark("crowd-8x8", "rate", Kind.TIMES, 0.7, "", "end-to-end-100B"),
        _times("backlog", "drain_rate", 8),
        _times("end-to-end-100B", "cpu", 8),
        Mark("idle-memory", "connection", Kind.AT_MOST, 3.0),
        _times("connect", "open", 5),
        # To the limit: the bare kernel queue in Python.
        _times("end-to-end-5KB", "rate", 0.45, "posix_ipc"),
        _times("ack-prefetch-100-5KB", "rate", 0.25, "posix_ipc"),
        _times("round-trip", "p50", 1 / 8, "posix_ipc"),
        Mark("backlog", "growth", Kind.AT_MOST, 1.1),
    ),
}


def verdicts(marks: tuple[Mark, ...], results: Mapping[str, Result], contender: str) -> list[Verdict]:
    """How ``contender`` did."""
    return [Verdict(mark, contender, _value(mark, results, contender)) for mark in marks]


def _value(mark: Mark, results: Mapping[str, Result], contender: str) -> float | None:
    result = results.get(mark.scenario)
    other = results.get(mark.other or mark.scenario)
    if result is None or other is None:
        return None
    ours = result.values(contender, mark.metric)
    if not ours:
        return None
    if mark.kind is not Kind.TIMES:
        return Spread.of(ours).median
    theirs = other.values(mark.against or contender, mark.metric)
    ratio = ratios(METRICS[mark.metric], ours, theirs)
    return None if ratio is None else ratio.median

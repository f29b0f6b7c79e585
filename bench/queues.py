"""``python -m bench.queues``: haypile's queue-shaped fronts beside what they stand in for, in one run.

Owns: the table, the ratios and the marks that must hold.
Must not know: how each way works (``rivals.ways``).

Rounds are taken in turn, so that what slows the machine for a while slows all; a ratio is the median of
the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.metrics import Sample
from bench.report import number
from bench.rivals import RIVALS, SHAPED
from bench.scenarios.scenario import Scale
from bench.stage import ProgramError

SIZES = (100, 5000)
QUICK = Scale("quick", 3)
#: Ways that take a microsecond or two a message, and how many times as many they are given: else it would be over in
#: some hundredths of a second, which is what a program takes to get going, and any interruption shows.
KERNEL = {"posix_ipc": 10, "sysv_ipc": 10, "foreign-in": 10, "foreign-out": 10}


@dataclass(frozen=True)
class Mark:
    """``ours`` at least ``bound`` times ``theirs``: messages a second, or how much sooner a waiter has one."""

    ours: str
    theirs: str
    bound: float
    metric: str = "rate"


MARKS = (
    Mark("Queue", "mp.Queue", 1.2),
    Mark("Queue-sysv", "mp.Queue", 1.2),
    Mark("Queue", "mp.Manager.Queue", 5),
    Mark("posixmq", "ipcqueue.posixmq", 1 / 1.3),
    Mark("sysvmq", "ipcqueue.sysvmq", 1 / 1.3),
    Mark("foreign-in", "posix_ipc", 1 / 2),
    Mark("foreign-out", "posix_ipc", 1 / 2),
)
#: The wake-up latency of System V lanes is that of a round trip's two.
COLUMNS = ((100, "rate", 12), (5000, "rate", 12), (100, "cpu", 10), (0, "p50", 20), (0, "p99", 10))
LATENCY = (Mark("Queue-sysv", "Queue", 1 / 1.5, "p50"),)


@dataclass
class Table:
    """What was measured: by way and size, a value a round."""

    values: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, size: int, sample: Sample) -> None:
        for metric, value in sample.items():
            if isinstance(value, (int, float)):
                self.values.setdefault((name, size, metric), []).append(float(value))

    def of(self, name: str, size: int, metric: str) -> list[float]:
        return self.values.get((name, size, metric), [])

    def ratio(self, mark: Mark, size: int) -> float | None:
        """How many times better ours is; None when one of the two was not measured."""
        pairs = zip(
            self.of(mark.ours, size, mark.metric), self.of(mark.theirs, size, mark.metric), strict=False
        )
        found = [a / b if mark.metric == "rate" else b / a for a, b in pairs]
        return statistics.median(found) if found else None


def measure(names: list[str], rounds: int, count: int, say: bool) -> Table:
    """All of them, in turn."""
    table = Table()
    known = {**RIVALS, **SHAPED}
    for _ in range(rounds):
        for name in names:
            rival = known[name]
            if not rival.installed():
                table.failures[name] = f"{rival.requires} is not installed"
                continue
            try:
                for size in SIZES:
                    if rival.carries(size):
                        table.take(name, size, rival.through(size, QUICK, work=_all(count * KERNEL.get(name, 1))))
                if rival.answers and name != "mp.Manager.Queue":
                    table.take(name, 0, rival.round_trip(QUICK, work=_tenth(count)))
            except ProgramError as error:
                table.failures[name] = str(error).strip().splitlines()[-1]
            if say:
                print(f"measured {name}", file=sys.stderr)
    return table


def _all(count: int) -> Callable[[Scale], int]:
    return lambda _: count


def _tenth(count: int) -> Callable[[Scale], int]:
    return lambda _: max(count // 10, 100)


def print_table(table: Table, names: list[str]) -> None:
    """One line a way."""
    print(f"{'':20}{'100 B /s':>12}{'5 KB /s':>12}{'CPU us':>10}{'round trip p50 us':>20}{'p99 us':>10}")
    for name in names:
        if name in table.failures:
            print(f"{name:20}{table.failures[name]}")
            continue
        cells = []
        for size, metric, width in COLUMNS:
            values = table.of(name, size, metric)
            cells.append(f"{number(statistics.median(values)) if values else '':>{width}}")
        print(f"{name:20}{''.join(cells)}")


def print_marks(table: Table) -> bool:
    """One line a mark; whether all that were measured hold."""
    good = True
    for mark, sizes in [*((mark, SIZES) for mark in MARKS), *((mark, (0,)) for mark in LATENCY)]:
        for size in sizes:
            value = table.ratio(mark, size)
            holds = value is None or value >= mark.bound
            good = good and holds
            word = "not measured" if value is None else "pass" if holds else "FAIL"
            what = "round trip" if not size else f"{size} B"
            shown = "" if value is None else f"{value:.2f}"
            print(f"{word:14}{mark.ours} against {mark.theirs}, {what}: {shown} (at least {mark.bound:.2f})")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.queues", description=__doc__)
    parser.add_argument("names", nargs="*", help="ways to measure (default: all)", metavar="WAY")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000, help="messages of one measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a mark does not hold")
    options = parser.parse_args()
    names = options.names or [*RIVALS, *SHAPED]
    table = measure(names, options.rounds, options.count, sys.stderr.isatty())
    print_table(table, names)
    if not print_marks(table) and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

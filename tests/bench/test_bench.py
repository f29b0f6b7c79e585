"""The benchmark runs, counts right, says what it measured and leaves nothing behind. No times are judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.marks import MARKS, Kind, Mark, verdicts
from bench.metrics import METRICS, Sample, Spread, percentile, ratios
from bench.report import check, table
from bench.runner import Result, contenders, run
from bench.scenarios import SCENARIOS
from bench.scenarios.scenario import Scale, Scenario
from bench.stage import ProgramError

ROOT = Path(__file__).resolve().parents[2]

#: Scenarios that between them run every client program.
ENOUGH = (
    "end-to-end-100B",
    "ack-prefetch-100",
    "confirm-persistent-100",
    "round-trip",
    "crowd-4x1",
    "crowd-1x4-ack",
    "topic",
    "connect",
    "idle-memory",
    "backlog",
)


def bench(*arguments: str, module: str = "bench") -> subprocess.CompletedProcess[str]:
    """Run it as a user would."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def leftovers() -> set[str]:
    """State directories of the bench."""
    return {str(path) for path in Path("/dev/shm").glob("haypile-bench-*")}


def result(name: str, **samples: dict[str, list[float]]) -> Result:
    """A result as the runner would have made it."""
    scenario = Scenario(name, name, sample=lambda scale, transport: {})
    return Result(scenario, samples=dict(samples))


@pytest.mark.slow
def test_every_client_program_runs_over_posix(tmp_path: Path) -> None:
    before = leftovers()
    facts, text = tmp_path / "bench.json", tmp_path / "bench.md"
    only = [argument for name in ENOUGH for argument in ("--only", name)]
    done = bench("--smoke", "--transports", "posix", *only, "--json", str(facts), "--markdown", str(text))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(facts.read_text())
    for measured in found["results"]:
        assert not measured["failures"]
        assert measured["samples"]["posix"], measured["scenario"]
        assert set(measured["samples"]["posix"]) <= set(METRICS)
    assert found["machine"]["pika"]
    assert "| end-to-end-100B | posix | messages |" in text.read_text()
    assert leftovers() <= before


def test_layers_run() -> None:
    before = leftovers()
    done = bench("--seconds", "0.002", "--repeats", "1", module="bench.layers")
    assert done.returncode == 0, done.stderr
    for layer in ("message: decode", "lane: send", "hay: put, one by one", "deliver: from a lane, acked"):
        assert layer in done.stdout
    assert leftovers() <= before


def test_scenarios_are_named_and_listed() -> None:
    done = bench("--list")
    for scenario in SCENARIOS:
        assert f"{scenario.name} " in done.stdout
        assert scenario.title in done.stdout
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert bench("--only", "no such thing").returncode != 0


@pytest.mark.parametrize("name", sorted(MARKS))
def test_marks_name_what_is_measured(name: str) -> None:
    names = {scenario.name for scenario in SCENARIOS}
    for mark in MARKS[name]:
        assert mark.scenario in names
        assert mark.metric in METRICS
        assert not mark.other or mark.other in names


def test_verdicts() -> None:
    rates = result("through", posix={"rate": [60.0, 80.0, 70.0]}, amqp={"rate": [10.0, 10.0, 10.0]})
    marks = (
        Mark("through", "rate", Kind.TIMES, 6),
        Mark("through", "rate", Kind.TIMES, 8),
        Mark("through", "rate", Kind.AT_LEAST, 50),
        Mark("through", "rate", Kind.AT_MOST, 50),
        Mark("absent", "rate", Kind.AT_MOST, 50),
    )
    found = verdicts(marks, {"through": rates}, "posix")
    assert [verdict.reached for verdict in found] == [True, False, True, False, None]
    assert found[0].value == 7.0
    text = check(found)
    assert text.count("pass") == 2
    assert text.count("FAIL") == 2
    assert "not measured" in text


def test_ratios_say_how_many_times_better() -> None:
    assert ratios(METRICS["rate"], [20.0, 40.0], [10.0, 10.0]) == Spread(3.0, 2.0, 4.0)
    assert ratios(METRICS["p50"], [20.0], [100.0]) == Spread(5.0, 5.0, 5.0)
    assert ratios(METRICS["p50"], [20.0], []) is None
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.999) == 1.0


def test_contenders_take_turns_and_one_that_fails_is_left_out() -> None:
    order: list[str] = []

    def fails() -> Sample:
        order.append("b")
        raise ProgramError("gone")

    def works(name: str) -> Sample:
        order.append(name)
        return {"rate": 1.0, "tenths": [1.0, 2.0]}

    scenario = Scenario("turns", "turns", sample=lambda scale, transport: {})
    runs: dict[str, Callable[[], Sample]] = {"a": lambda: works("a"), "b": fails, "c": lambda: works("c")}
    found = run(scenario, Scale("smoke", 3), runs, progress=lambda text: None)
    assert order == ["a", "b", "c", "c", "a", "c", "a"]
    assert found.failures == {"b": "gone"}
    assert found.values("a", "rate") == [1.0, 1.0, 1.0]
    assert found.details["c"]["tenths"] == [1.0, 2.0]
    assert "failed" in table([found])


def test_rivals_that_are_asked_for() -> None:
    through = next(scenario for scenario in SCENARIOS if scenario.name == "end-to-end-5KB")
    scale = Scale("smoke", 1)
    assert not contenders(through, scale, [], "none")
    assert set(contenders(through, scale, [], "limits")) <= {"posix_ipc", "sysv_ipc"}
    assert {"mp.Queue", "mp.Pipe"} <= set(contenders(through, scale, [], "all"))

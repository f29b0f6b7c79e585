"""Results as a table, as markdown and as JSON.

Owns: formatting only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.marks import Kind, Verdict
from bench.metrics import METRICS, Metric, Spread, ratios
from bench.runner import Result
from bench.scenarios import SCENARIOS

HEADINGS = ("scenario", "contender", "metric", "median", "spread", "vs amqp")


def number(value: float) -> str:
    """Three significant digits or whole, with thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each metric of each contender; ratios are to pika with RabbitMQ, > 1 is better."""
    found: list[tuple[str, ...]] = []
    for result in results:
        name = result.scenario.name
        for metric_name in result.metrics():
            metric = METRICS[metric_name]
            for contender in result.samples:
                values = result.values(contender, metric_name)
                if values:
                    found.append(
                        (name, contender, metric.title, *_numbers(metric, values, result, contender))
                    )
        for contender, failure in result.failures.items():
            found.append((name, contender, "failed", failure.strip().splitlines()[-1][:60], "", ""))
    return found


def _numbers(metric: Metric, values: list[float], result: Result, contender: str) -> tuple[str, str, str]:
    spread = Spread.of(values)
    ratio = None
    if contender != "amqp":
        ratio = ratios(metric, values, result.values("amqp", metric.name))
    return (
        f"{number(spread.median)} {metric.unit}".strip(),
        f"{number(spread.low)}..{number(spread.high)}" if len(values) > 1 else "",
        f"{number(ratio.median)} x" if ratio else "",
    )


def table(results: Sequence[Result]) -> str:
    """For a terminal."""
    lines = [HEADINGS, *rows(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(results: Sequence[Result], machine: Mapping[str, str], scale: str) -> str:
    """For the documentation."""
    facts = "\n".join(f"- {name}: {text}" for name, text in machine.items())
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(results)]
    table_text = "\n".join(lines)
    return (
        f"Measured by `python -m bench` ({scale}). Medians with the least and the greatest of the rounds; "
        f"the last column says how many times better than pika with RabbitMQ in the same round.\n\n"
        f"{facts}\n\n{table_text}\n"
    )


def check(found: Sequence[Verdict]) -> str:
    """A line for each mark."""
    words = {True: "pass", False: "FAIL", None: "not measured"}
    lines = []
    for verdict in found:
        mark = verdict.mark
        metric = METRICS[mark.metric]
        if mark.kind is Kind.TIMES:
            bound = f"at least {mark.bound:.3g} x {mark.other or mark.against}"
        else:
            bound = f"{mark.kind.value} {mark.bound:.3g} {metric.unit}".strip()
        value = "" if verdict.value is None else number(verdict.value)
        title = f"{verdict.contender} {mark.scenario}: {metric.title}"
        lines.append(f"{words[verdict.reached]:<13}{title:<58}{value:>8}  ({bound})")
    return "\n".join(lines)


def from_json(data: Mapping[str, Any]) -> list[Result]:
    """The results that ``as_json`` wrote down."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    return [
        Result(known[one["scenario"]], one["samples"], one["details"], one["seconds"], one["failures"])
        for one in data["results"]
        if one["scenario"] in known
    ]


def as_json(results: Sequence[Result], machine: Mapping[str, str], scale: str) -> dict[str, Any]:
    """Everything, for another program."""
    return {
        "machine": dict(machine),
        "scale": scale,
        "results": [
            {
                "scenario": result.scenario.name,
                "title": result.scenario.title,
                "seconds": round(result.seconds, 1),
                "samples": result.samples,
                "details": result.details,
                "failures": result.failures,
            }
            for result in results
        ],
    }

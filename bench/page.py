"""``python -m bench.page``: measure, and write docs/performance.md with its plots.

Owns: what the page shows, and where its files go: the figures in ``performance.md`` stand between two marks (the
words around them are written by hand), plots and all samples in ``docs/plots``.
Must not know: how anything is measured or drawn.

A quick run is to take six minutes at most (``--minutes``); ``--from`` writes the page anew from samples that were kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import __main__ as bench
from bench import plots, report
from bench.metrics import METRICS, Spread, ratios
from bench.runner import Result

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
SAMPLES = "performance.json"
LEGEND = """\
*posix* and *sysv* are haypile's transports, *amqp* is pika with that RabbitMQ on the same machine, *posix_ipc* and
*sysv_ipc* are the bare kernel queues in Python. Contenders take turns within each round. Numbers are medians of the
rounds; the spread is the least and the greatest of them, *vs amqp* the median of the ratios within a round: more
than 1 is better.\
"""
#: Rounds by scale: a page is read more often than a table.
ROUNDS = {"smoke": 1, "quick": 3, "full": 3}
MINUTES = "6"

#: File, title, metric, unit, logarithmic.
CHARTS = (
    ("rate", "Messages delivered", "rate", True),
    ("publish", "Messages published and confirmed", "publish_rate", True),
    ("round-trip", "Round trip, p50", "p50", False),
    ("round-trip-p99", "Round trip, p99", "p99", False),
    ("cpu", "CPU, broker included", "cpu", True),
)
#: A chart of one metric: scenarios whose name begins so; () is all.
ONLY = {"publish_rate": ("confirm",), "p50": ("round-trip",), "p99": ("round-trip",)}


def groups(results: Sequence[Result], metric: str) -> dict[str, dict[str, float]]:
    """Medians of ``metric`` by scenario and contender."""
    found = {}
    for result in results:
        if result.scenario.name.startswith(ONLY.get(metric, ())) or metric not in ONLY:
            medians = {name: Spread.of(values) for name in result.samples if (values := result.values(name, metric))}
            if medians:
                found[result.scenario.name] = {name: spread.median for name, spread in medians.items()}
    return found


def better(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """How many times better than pika with RabbitMQ: by scenario, its chief metric, and transport."""
    found: dict[str, dict[str, float]] = {}
    for result in results:
        chief = next((name for name in ("rate", "publish_rate", "p50", "open") if result.values("amqp", name)), None)
        if chief is None:
            continue
        if result.scenario.name.startswith("confirm"):
            chief = "publish_rate"
        for name in result.samples:
            ratio = None
            if name in ("posix", "sysv"):
                ratio = ratios(METRICS[chief], result.values(name, chief), result.values("amqp", chief))
            if ratio is not None:
                found.setdefault(result.scenario.name, {})[name] = ratio.median
    return found


def draw(results: Sequence[Result], folder: Path) -> list[tuple[str, str]]:
    """Write every chart there are figures for; file name and title of each."""
    made = []
    compared = better(results)
    if compared:
        title = "Times better than pika with RabbitMQ"
        (folder / "times.svg").write_text(plots.bars(title, "times", compared, line=1))
        made.append(("times.svg", title))
    for name, title, metric, log in CHARTS:
        found = groups(results, metric)
        if found:
            (folder / f"{name}.svg").write_text(plots.bars(title, METRICS[metric].unit, found, log=log))
            made.append((f"{name}.svg", title))
    return made


def figures(results: Sequence[Result], facts: dict[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """What stands between the marks."""
    told = facts.pop("command", "python -m bench.page")
    machine = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    shown = "\n\n".join(f"![{title}](plots/{name})" for name, title in pictures)
    lines = ["| " + " | ".join(report.HEADINGS) + " |", "|---|---|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(row) + " |" for row in report.rows(results)]
    table = "\n".join(lines)
    return (
        f"Measured by `{told}` on this machine:\n\n{machine}\n\n"
        f"{LEGEND}\n\n{shown}\n\n{table}\n\n[All samples](plots/{SAMPLES})."
    )


def write(data: dict[str, Any], docs: Path) -> None:
    """The page, its plots and its samples. Raises SystemExit where the page has no place for them."""
    page, folder = docs / "performance.md", docs / "plots"
    text = page.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        sys.exit(f"{page} needs the lines {BEGIN} and {END}")
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    results = report.from_json(data)
    made = figures(results, dict(data["machine"]), draw(results, folder))
    page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")
    (folder / SAMPLES).write_text(json.dumps(data, indent=1) + "\n")
    print(f"wrote {page} and {folder}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when a contender failed; the page is written all the same."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__, add_help=False)
    parser.add_argument("--from", dest="source", type=Path, help="samples that --json wrote: nothing is measured")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder that has performance.md")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, others = parser.parse_known_args(given)
    if options.source is not None:
        write(json.loads(options.source.read_text()), options.docs)
        return 0
    if not {"--quick", "--smoke", "--full"} & set(others):
        others += ["--quick", *(["--minutes", MINUTES] if "--minutes" not in others else [])]
    chosen = bench.parse(["--transports", "posix,sysv,amqp", *[one for one in others if one != "--full"]])
    chosen.rounds = chosen.rounds or ROUNDS[chosen.scale]
    results, facts, transports = bench.gather(chosen)
    facts["command"] = shlex.join(["python", "-m", "bench.page", *given])
    print("\n" + report.table(results))
    write(report.as_json(results, facts, chosen.scale), options.docs)
    return 1 if any(result.failures for result in results) or not transports else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m bench``: haypile beside pika with RabbitMQ, and beside the bare kernel queues."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from bench import machine, report
from bench.marks import MARKS, verdicts
from bench.runner import Result, contenders, run
from bench.scenarios import SCENARIOS
from bench.scenarios.scenario import Scale, Scenario
from bench.transports import TRANSPORTS, RabbitMQ, Transport, open_transports

#: Rounds of each scenario by scale.
ROUNDS = {"smoke": 1, "quick": 2, "full": 3}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="scale", help="under two minutes")
    size.add_argument("--smoke", action="store_const", const="smoke", dest="scale", help="does it run at all")
    parser.set_defaults(scale="full")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="scenarios that contain NAME"
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios and go")
    parser.add_argument(
        "--transports",
        default="posix,amqp",
        help="of posix, sysv and amqp, with commas (default: %(default)s)",
    )
    parser.add_argument("--amqp-url", default="amqp://guest:guest@127.0.0.1:5672/%2F")
    parser.add_argument(
        "--rivals",
        choices=("all", "limits", "none"),
        help="what else to run (default: limits with --quick, else all)",
    )
    parser.add_argument("--rounds", type=int, help="repetitions of each scenario")
    parser.add_argument("--minutes", type=float, help="one round only where it would take longer, as far as that helps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a table for the documentation")
    parser.add_argument(
        "--check",
        choices=sorted(MARKS),
        nargs="?",
        const="base",
        help="say which marks are reached; status 1 if not",
    )
    options = parser.parse_args(arguments)
    options.transports = options.transports.split(",")
    if unknown := set(options.transports) - set(TRANSPORTS):
        parser.error(f"no transport is called {' or '.join(sorted(unknown))}")
    if options.rivals is None:
        options.rivals = {"smoke": "none", "quick": "limits", "full": "all"}[options.scale]
    return options


def chosen(only: list[str]) -> list[Scenario]:
    """The scenarios whose name contains any of ``only``; all when there is none."""
    found = [scenario for scenario in SCENARIOS if not only or any(name in scenario.name for name in only)]
    if not found:
        sys.exit(f"no scenario is called {' or '.join(only)}; --list names them")
    return found


def progress(text: str) -> None:
    """What is being run, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(options: argparse.Namespace, transports: list[Transport]) -> list[Result]:
    results: list[Result] = []
    scenarios = chosen(options.only)
    start = time.monotonic()
    for scenario in scenarios:
        due = len(results) / len(scenarios)
        if results and options.minutes is not None and time.monotonic() - start > due * options.minutes * 60:
            # Late: the machine is slow, or busy.
            scale = Scale(options.scale, 1)
        else:
            scale = Scale(options.scale, options.rounds or ROUNDS[options.scale])
        result = run(scenario, scale, contenders(scenario, scale, transports, options.rivals), progress)
        results.append(result)
        progress("")
        for contender, failure in result.failures.items():
            print(f"{scenario.name} over {contender} failed: {failure}", file=sys.stderr)
    return results


def gather(options: argparse.Namespace) -> tuple[list[Result], dict[str, str], list[str]]:
    """Measure all that ``options`` say: results, the machine's facts, the transports there were."""
    facts = machine.facts()
    start = time.monotonic()
    transports = open_transports(options.transports, options.amqp_url)
    try:
        for transport in transports:
            if isinstance(transport, RabbitMQ):
                facts["broker"] = transport.version
        results = measure(options, transports)
    finally:
        for transport in transports:
            transport.close()
    facts["took"] = f"{time.monotonic() - start:.0f} s"
    return results, facts, [transport.name for transport in transports]


def main() -> int:
    options = parse()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:<24}{scenario.title}")
        return 0
    results, facts, transports = gather(options)

    print("\n".join(f"{name}: {text}" for name, text in facts.items()))
    print("\n" + report.table(results))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, facts, options.scale), indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(results, facts, options.scale))
    status = 1 if any(result.failures for result in results) else 0
    if options.check:
        by_name = {result.scenario.name: result for result in results}
        for transport in transports:
            if transport != "amqp":
                found = verdicts(MARKS[options.check], by_name, transport)
                print("\n" + report.check(found))
                if any(verdict.reached is False for verdict in found):
                    status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

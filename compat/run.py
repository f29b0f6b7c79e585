"""The compat runner: every program on every transport, compared.

    python -m compat [--transport amqp,posix] [--program PATTERN] [--write] [--repeat N] [--verbose]

Owns: the comparison, the table, and docs/compatibility.md. The first transport is the one that is right.
Known differences stand in ``differences.json`` with their reasons: those are shown, not failed.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support import leaks, rabbitmq
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import Vhost, local_vhost, make_state_directory, remove_state_directory

from compat import report
from compat.running import Outcome, Program, programs, run

HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE / "differences.json"
TABLE = HERE.parent / "docs" / "compatibility.md"
#: Programs that run at the same time.
PARALLEL = 4
KERNEL_QUEUES = KernelQueues()
Results = dict[str, dict[str, Outcome]]


def known_differences() -> dict[str, dict[str, str]]:
    """Program -> transport -> why it differs there."""
    found: dict[str, dict[str, str]] = json.loads(DIFFERENCES.read_text())
    return found


@contextmanager
def fresh_vhost(transport: str, broker: rabbitmq.Broker | None) -> Iterator[Vhost]:
    """A vhost that nobody has used, gone afterwards."""
    if transport == "amqp":
        assert broker is not None
        yield Vhost("amqp", broker.vhost_url(broker.fresh_vhost()), {})
        return
    directory = make_state_directory()
    try:
        yield local_vhost(transport, directory, "compat")
    finally:
        remove_state_directory(directory)


def run_on(program: Program, transport: str, broker: rabbitmq.Broker | None) -> Outcome:
    """One program on one transport."""
    with fresh_vhost(transport, broker) as vhost:
        outcome = run(program, vhost)
        if transport == "amqp":
            return outcome
        litter = leaks.in_state(Path(vhost.environment["HAYPILE_DIR"]), KERNEL_QUEUES)
        return replace(outcome, litter=tuple(litter))


def run_all(
    chosen: list[Program],
    transports: list[str],
    broker: rabbitmq.Broker | None,
    told: Callable[[str], None],
) -> Results:
    """Every chosen program on every transport, a few at a time: most of the time they wait."""
    results: Results = {program.name: {} for program in chosen}
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = {
            (program.name, transport): pool.submit(run_on, program, transport, broker)
            for program in chosen
            for transport in transports
        }
        for (name, transport), job in jobs.items():
            results[name][transport] = job.result()
            if transport == transports[-1]:
                told(name)
    return results


def difference(expected: Outcome, got: Outcome, transport: str, reference: str) -> str:
    """The two outcomes side by side, as a diff."""
    lines = difflib.unified_diff(
        expected.report().splitlines(), got.report().splitlines(), reference, transport, lineterm="", n=1
    )
    return "\n".join(lines)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compat", description="run pika programs on every transport")
    parser.add_argument("--transport", default="amqp,posix", help="in this order; the first one is right")
    parser.add_argument("--program", default="*", help="a pattern of program names")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("--repeat", type=int, default=1, help="run everything that often")
    parser.add_argument("--verbose", action="store_true", help="print what the programs print")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 when every difference is a known one."""
    options = _arguments(argv)
    transports = options.transport.split(",")
    chosen = [program for program in programs() if fnmatch.fnmatch(program.name, options.program)]
    broker = rabbitmq.get_broker() if "amqp" in transports else None
    unexplained = 0
    try:
        for _ in range(options.repeat):
            results = run_all(chosen, transports, broker, lambda name: print(".", end="", flush=True))
            print()
            unexplained += _print(chosen, transports, results, options.verbose)
    finally:
        if broker is not None:
            broker.close()
        rabbitmq.stop_own_server()
    if options.write:
        TABLE.write_text(report.markdown(chosen, transports, results, known_differences()))
        print(f"wrote {TABLE.relative_to(HERE.parent)}")
    return 1 if unexplained else 0


def _print(chosen: list[Program], transports: list[str], results: Results, verbose: bool) -> int:
    known = known_differences()
    unexplained = 0
    for program in chosen:
        outcomes = results[program.name]
        reference = outcomes[transports[0]]
        if verbose:
            print(f"--- {program.name}\n{reference.report()}")
        words = []
        for transport in transports[1:]:
            if reference.same_as(outcomes[transport]):
                words.append(f"{transport} same")
            elif transport in known.get(program.name, {}):
                words.append(f"{transport} differs: {known[program.name][transport]}")
            else:
                unexplained += 1
                words.append(f"{transport} DIFFERS")
                print(difference(reference, outcomes[transport], transport, transports[0]), file=sys.stderr)
        if reference.code != 0:
            words.append(f"{transports[0]} exit code {reference.code}")
            unexplained += 1
            if not verbose:
                print(reference.report(), file=sys.stderr)
        print(f"{program.name:32} {', '.join(words)}")
    print(f"{len(chosen)} programs, {unexplained} unexplained differences")
    return unexplained

"""The compat runner: every program on every transport, compared.

    python -m compat [--transport amqp,posix,sysv] [--program PATTERN] [--write] [--record] [--repeat N] [--verbose]

Owns: the comparison, the table, and docs/compatibility.md. The first transport is the one that is right.
Known differences stand in ``differences.json`` with their reasons: those are shown, not failed.

What each program did on a RabbitMQ of the version that haypile follows is written down: ``--record``, with
HAYPILE_TEST_AMQP_URL naming one. Programs that need a plugin which the RabbitMQ at hand has not (or a setting of the
whole server) are compared with that, and all are where it is of another version. ``--transport recorded,amqp`` shows
what that one does otherwise.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
from tests.support import leaks, rabbitmq
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import Vhost, local_vhost, make_state_directory, remove_state_directory

from compat import report
from compat.running import LOOKERS, Outcome, Program, programs, run
from haypile.targets import TIMEOUT_VARIABLE

HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE / "differences.json"
TABLE = HERE.parent / "docs" / "compatibility.md"
#: Stands for the RabbitMQ that haypile follows, as it was recorded, where the one at hand is of another version.
RECORD = "recorded"
#: A need that is a setting of the whole server.
SETTING = "consumer_timeout="
#: A need that is turned on for one vhost.
FIREHOSE = "firehose"
#: Programs that run at the same time.
PARALLEL = 4
ASKING = threading.Lock()
KERNEL_QUEUES = KernelQueues()
#: What the last words of a program on a RabbitMQ are that failed in itself, and how often it is asked.
CRASHED, ATTEMPTS = "(541, 'INTERNAL_ERROR')", 3
LOGGER = logging.getLogger(__name__)
Results = dict[str, dict[str, Outcome]]


def known_differences() -> dict[str, dict[str, str]]:
    """Program -> transport -> why it differs there."""
    found: dict[str, dict[str, str]] = json.loads(DIFFERENCES.read_text())
    return found


@contextmanager
def fresh_vhost(program: Program, transport: str, broker: rabbitmq.Broker | None) -> Iterator[Vhost]:
    """A vhost that nobody has used, with the program's policies and limits; gone afterwards."""
    if transport == "amqp":
        assert broker is not None
        name = broker.fresh_vhost()
        if program.definitions is not None:
            broker.define(rabbitmq.definitions_of(name, program.definitions))
        if program.needs == FIREHOSE:
            broker.trace(name)
        yield Vhost("amqp", broker.vhost_url(name), {})
        return
    directory = make_state_directory()
    try:
        vhost = local_vhost(transport, directory, "compat")
        if program.definitions is not None:
            load_definitions(vhost, program.definitions)
        if program.needs is not None and program.needs.startswith(SETTING):
            timeout = program.needs.removeprefix(SETTING)
            vhost = replace(vhost, environment={**vhost.environment, TIMEOUT_VARIABLE: timeout})
        yield vhost
    finally:
        remove_state_directory(directory)


def load_definitions(vhost: Vhost, definitions: dict[str, Any]) -> None:
    """Set policies and limits of a local vhost."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rabbitmq.definitions_of("compat", definitions), file)
        file.flush()
        command = [sys.executable, "-m", "haypile", "policy", "load", "--url", vhost.url, file.name]
        subprocess.run(command, env=vhost.process_environment(), check=True)


@functools.cache
def _has_type(url: str, kind: str) -> bool:
    """Whether the RabbitMQ there knows this exchange type."""
    name = f"compat-{os.getpid()}"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        try:
            channel.exchange_declare(name, kind, arguments={"x-delayed-type": "direct"})
            channel.exchange_delete(name)
        except (pika.exceptions.ConnectionClosedByBroker, pika.exceptions.ChannelClosedByBroker):  # the latter: 4.0
            return False
    return True


def has_type(broker: rabbitmq.Broker, kind: str | None) -> bool:
    """Whether this RabbitMQ knows an exchange type."""
    with ASKING:
        return _has_type(f"{broker.url}/%2F", str(kind))


def reference(broker: rabbitmq.Broker) -> str:
    """The transport that is right."""
    return "amqp" if broker.followed else RECORD


def lacks(program: Program, broker: rabbitmq.Broker | None) -> bool:
    """Whether this RabbitMQ has not what the program needs."""
    if program.needs in (None, FIREHOSE) or broker is None:
        return False
    return str(program.needs).startswith(SETTING) or not has_type(broker, program.needs)


def run_on(program: Program, transport: str, broker: rabbitmq.Broker | None) -> Outcome:
    """One program on one transport, or what was recorded of it there."""
    if transport == RECORD or (transport == "amqp" and lacks(program, broker)):
        return Outcome.read(program.record)
    if transport == "amqp":
        return run_on_rabbitmq(program, broker)
    with fresh_vhost(program, transport, broker) as vhost:
        outcome = run(program, vhost)
        litter = leaks.in_state(Path(vhost.environment["HAYPILE_DIR"]), KERNEL_QUEUES)
        return replace(outcome, litter=tuple(litter))


def run_on_rabbitmq(program: Program, broker: rabbitmq.Broker | None) -> Outcome:
    """One program on a RabbitMQ; once more where that failed in itself.

    In races about topology a channel's process of RabbitMQ crashes now and then, and the connection ends with 541. A
    program for which that is the answer shows it, and its stderr stays empty.
    """
    for attempt in range(ATTEMPTS):
        with fresh_vhost(program, "amqp", broker) as vhost:
            outcome = run(program, vhost)
        if CRASHED not in outcome.errors:
            break
        LOGGER.warning("RabbitMQ failed in itself, attempt %d, program %s", attempt + 1, program.name)
    return outcome


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
    parser.add_argument(
        "--transport", help="in this order, the first one is right; recorded: as RabbitMQ was recorded to do "
        "(default: amqp,posix; with --write amqp,posix,sysv)",
    )
    parser.add_argument("--program", default="*", help="a pattern of program names")
    parser.add_argument("--write", action="store_true", help="write docs/compatibility.md")
    parser.add_argument("--record", action="store_true", help="write down what programs do on RabbitMQ")
    parser.add_argument("--repeat", type=int, default=1, help="run everything that often")
    parser.add_argument("--verbose", action="store_true", help="print what the programs print")
    options = parser.parse_args(argv)
    if options.write and options.program != "*":
        parser.error(f"--write is for all programs, not for {options.program}: leave one of the two out")
    # The page has a column for each.
    options.transport = options.transport or ("amqp,posix,sysv" if options.write else "amqp,posix")
    return options


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 when every difference is a known one."""
    options = _arguments(argv)
    transports = options.transport.split(",")
    chosen = [program for program in programs() if fnmatch.fnmatch(program.name, options.program)]
    broker = rabbitmq.get_broker() if "amqp" in transports else None
    unexplained = 0
    try:
        if broker is not None and transports[0] == "amqp" and not options.record:
            transports[0] = reference(broker)
            if transports[0] == RECORD:
                print(f"this RabbitMQ is {broker.version}; compared with what {rabbitmq.FOLLOWED} was recorded to do")
        if options.record:
            assert broker is not None
            return record(chosen, broker)
        for _ in range(options.repeat):
            results = run_all(chosen, transports, broker, lambda name: print(".", end="", flush=True))
            print()
            unexplained += _print(chosen, transports, results, options.verbose)
    finally:
        LOOKERS.close()
        if broker is not None:
            broker.close()
        rabbitmq.stop_own_server()
    if options.write:
        TABLE.write_text(report.markdown(chosen, transports, results, known_differences()))
        print(f"wrote {TABLE.relative_to(HERE.parent)}")
    return 1 if unexplained else 0


def record(chosen: list[Program], broker: rabbitmq.Broker) -> int:
    """Write down what each program does on a RabbitMQ. Returns the exit code: 1 when some could not be shown there."""
    if not broker.followed:
        print(f"this RabbitMQ is {broker.version}, haypile follows {rabbitmq.FOLLOWED}")
        return 1
    failed = 0
    for program in chosen:
        setting = program.needs if program.needs is not None and program.needs.startswith(SETTING) else None
        if setting is None and lacks(program, broker):
            print(f"--- {program.name}: not recorded, this RabbitMQ has no {program.needs}")
            failed += 1
            continue
        try:
            with broker.setting(setting), fresh_vhost(program, "amqp", broker) as vhost:
                outcome = run(program, vhost)
        except rabbitmq.NoRabbitMQ as error:
            print(f"--- {program.name}: not recorded, {setting} cannot be set here: {error}")
            failed += 1
            continue
        print(f"--- {program.name}\n{outcome.report()}")
        if outcome.code == 0:
            outcome.write(program.record)
        else:
            failed += 1
    return 1 if failed else 0


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

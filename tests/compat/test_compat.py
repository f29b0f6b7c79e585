"""Every program of compat/ on RabbitMQ and on every local transport: nobody can tell which is which.

The programs mostly wait, so a few run at a time, ahead of the tests that look at them; all tests of a
program are one worker's, so that it runs once on each transport.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from compat.running import LOOKERS, Outcome, Program, programs

from compat import report, run
from tests.conftest import LOCAL_TRANSPORTS
from tests.support import rabbitmq

PROGRAMS = programs()
KNOWN = run.known_differences()
Key = tuple[str, str]


class Ahead:
    """Outcomes by program and transport, begun before they are asked for."""

    def __init__(self, broker: rabbitmq.Broker, wanted: list[tuple[Program, str]]) -> None:
        self.broker = broker
        self.pool = ThreadPoolExecutor(run.PARALLEL)
        self.begun: dict[Key, Future[Outcome]] = {}
        self.reference = run.reference(broker)
        for program, transport in wanted:
            self.begin(program, self.reference)
            self.begin(program, transport)

    def begin(self, program: Program, transport: str) -> Future[Outcome]:
        key = (program.name, transport)
        if key not in self.begun:
            self.begun[key] = self.pool.submit(run.run_on, program, transport, self.broker)
        return self.begun[key]


@pytest.fixture(autouse=True)
def no_leaks() -> None:
    """Programs run beside tests here, so descriptors and children come and go; see ``ahead``'s end."""


@pytest.fixture(scope="module")
def ahead(
    request: pytest.FixtureRequest, _rabbitmq_or_reason: rabbitmq.Broker | str
) -> Iterator[Ahead | None]:
    if isinstance(_rabbitmq_or_reason, str):
        yield None
        return
    alone = "PYTEST_XDIST_WORKER" not in os.environ  # a worker does not know which tests will be its own
    items = request.session.items if alone else []
    wanted: list[tuple[Any, Any]] = [
        (item.callspec.params["program"], item.callspec.params["transport"])
        for item in items
        if isinstance(item, pytest.Function) and item.function is test_same_as_rabbitmq
    ]
    outcomes = Ahead(_rabbitmq_or_reason, wanted)
    yield outcomes
    outcomes.pool.shutdown(wait=True, cancel_futures=True)
    LOOKERS.close()


@pytest.mark.rabbitmq
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "transport", [LOCAL_TRANSPORTS[0], *(pytest.param(other, marks=pytest.mark.slow) for other in LOCAL_TRANSPORTS[1:])]
)
@pytest.mark.parametrize(
    "program",
    [pytest.param(one, id=one.name, marks=pytest.mark.xdist_group(f"compat {one.name}")) for one in PROGRAMS],
)
def test_same_as_rabbitmq(
    program: Program, transport: str, ahead: Ahead | None, rabbitmq_broker: rabbitmq.Broker
) -> None:
    assert ahead is not None
    both = ahead.begin(program, ahead.reference), ahead.begin(program, transport)
    reference, outcome = [one.result() for one in both]
    assert reference.code == 0, reference.report()
    recorded = Outcome.read(program.record)
    changed = run.difference(recorded, reference, ahead.reference, run.RECORD)
    assert recorded.same_as(reference), "record it anew\n" + changed
    assert not outcome.litter, outcome.litter
    if transport in KNOWN.get(program.name, {}):
        assert not reference.same_as(outcome), "no longer differs: take it out of differences.json"
        return
    assert reference.same_as(outcome), "\n" + run.difference(reference, outcome, transport, ahead.reference)


def test_a_rabbitmq_that_fails_in_itself_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as a program that shows 541 on purpose is not; and not for ever."""
    failed = Outcome("worker: 1\n", 0, "pika.exceptions.ConnectionClosedByBroker: (541, 'INTERNAL_ERROR')\n", "")
    good = Outcome("worker: 0\n541 INTERNAL_ERROR\n", 0, "", "")
    monkeypatch.setattr(run, "fresh_vhost", lambda *_: nullcontext())

    def outcome_of(*outcomes: Outcome) -> tuple[Outcome, int]:
        left = list(outcomes)
        monkeypatch.setattr(run, "run", lambda *_: left.pop(0))
        return run.run_on_rabbitmq(PROGRAMS[0], None), len(left)

    assert outcome_of(good, good) == (good, 1)
    assert outcome_of(failed, failed, good, good) == (good, 1)
    assert outcome_of(failed, failed, failed, good) == (failed, 1)


@pytest.mark.parametrize(("version", "right"), [("3.10.8", "amqp"), ("3.1.5", run.RECORD), ("4.0.5", run.RECORD)])
def test_beside_another_version_the_record_is_right(version: str, right: str) -> None:
    def unused(_: Any) -> None:
        raise AssertionError("nobody asked for it")

    broker = rabbitmq.Broker("url", "amqp://nobody", unused, unused, unused, unused)
    broker.version = version
    assert run.reference(broker) == right
    assert run.run_on(PROGRAMS[0], run.RECORD, broker) == Outcome.read(PROGRAMS[0].record)


def test_every_program_says_what_it_shows() -> None:
    assert len(PROGRAMS) >= 60
    for program in PROGRAMS:
        assert program.area and program.title, program.name


def test_programs_are_plain_pika() -> None:
    for program in PROGRAMS:
        assert "haypile" not in program.path.read_text(), program.name


def test_known_differences_name_programs() -> None:
    assert KNOWN.keys() <= {program.name for program in PROGRAMS}
    assert all(why for transports in KNOWN.values() for why in transports.values())


def test_the_page_is_of_all_programs_and_transports(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--write", "--program", "basic_*"])
    assert "--write is for all programs, not for basic_*" in capsys.readouterr().err
    head = run.TABLE.read_text().split("\n|---|", 1)[0].rsplit("\n", 1)[1]
    assert head.split(" | ")[2:] == [*LOCAL_TRANSPORTS[:-1], f"{LOCAL_TRANSPORTS[-1]} |"]


def test_the_page_has_each_program_where_compat_write_puts_it() -> None:
    """A docstring or a row that was changed by hand, without the other."""
    sections = run.TABLE.read_text().split("\n## ")
    for program in PROGRAMS:
        row = f"| {report.title(program)} | `{program.name}` |"
        assert [section.split("\n", 1)[0] for section in sections if row in section] == [program.area]

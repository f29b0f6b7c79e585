"""One process is killed at one point, and another one looks at what it left.

Owns: carrying out a scenario, and what must be true after it.
Must not know: which steps there are.
"""

from __future__ import annotations

import os
import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from haypile import exceptions
from haypile.broker import holdings
from tests.faults.points import Points
from tests.faults.scenarios import QUEUES, Program, Scenario, Stage
from tests.storms.ledger import Account
from tests.storms.storm import messages_left
from tests.support import leaks
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import make_state_directory, remove_state_directory, state_environment

#: Seconds until what has not come counts as lost or stuck. Others look once a second.
PATIENCE = 5.0
_SIGKILL = 9


@contextmanager
def environment(directory: Path) -> Iterator[None]:
    """haypile's state is below ``directory`` meanwhile."""
    before = {name: os.environ.get(name) for name in state_environment(directory)}
    os.environ.update(state_environment(directory))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run(
    scenario: Scenario, transport: str, at: int | str, queues: KernelQueues, record: Path | None = None
) -> tuple[bool, list[str]]:
    """Whether the process was killed at point ``at`` (it may have ended before); what is wrong then.

    ``at``: its number, or its name where it comes first.
    """
    directory = make_state_directory()
    sysv_before, posix_before = leaks.sysv_queues(), queues.names() or frozenset()
    ledger = directory / "ledger"
    ledger.mkdir()
    stage = Stage(f"{transport}:///faults", ledger, scenario.least)
    with environment(directory):
        try:
            scenario.prepare(stage)
            code = killed_at(scenario, stage, at, record)
            if code == 1:
                return False, [(directory / "error").read_text()]
            found = survive(stage, directory / transport / "faults")
        finally:
            for companion in stage.companions:
                companion.close()
        found += clean(stage, directory / transport / "faults")
    found += [f"System V queue {name}" for name in leaks.sysv_queues() - sysv_before]
    # They bear the name of their store.
    found += [f"kernel queue {name}" for name in (queues.names() or frozenset()) - posix_before if "haypile" in name]
    remove_state_directory(directory)
    return code == -_SIGKILL, found


def killed_at(scenario: Scenario, stage: Stage, at: int | str, record: Path | None) -> int:
    """Exit status of the process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            stage.companions = []
            holdings.SLOTS = scenario.slots
            Points(at, record).install()
            scenario.run(stage)
            code = 0
        except BaseException:
            (stage.ledger.parent / "error").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def survive(stage: Stage, place: Path) -> list[str]:
    """What is wrong with what others find: lost, stuck, doubled, a session that nobody recovered."""
    program = Program(stage, "after")
    found = []
    # Bodies outlive who published them.
    sessions = {name.partition(".")[0] for name in os.listdir(place / "sessions") if ".bodies." not in name}
    if len(sessions) != 1 + len(stage.companions):
        found.append(f"the next connect did not recover at once: {sorted(sessions)}")
    everybody = [program, *stage.companions]
    for queue in QUEUES:
        try:
            program.connection.channel().queue_declare(queue, passive=True)
        except exceptions.ChannelClosedByBroker:
            continue
        program.consume(queue)
    deadline, quiet = time.monotonic() + PATIENCE, 0
    while time.monotonic() < deadline and quiet < 2:
        for one in everybody:
            one.connection.process_data_events(0)
            one.ack(len(one.got))
        quiet = quiet + 1 if not Account.read(stage.ledger).lost() else 0
    account = Account.read(stage.ledger)
    for what, messages in (
        ("lost or stuck", account.lost()),
        ("came again without redelivered", account.doubled()),
        ("sent by nobody", account.invented()),
    ):
        if messages:
            found.append(f"{what}: {messages}")
    program.close()
    return found


def clean(stage: Stage, place: Path) -> list[str]:
    """What is left once everything is deleted and everybody has gone."""
    connection = stage.connect()
    channel = connection.channel()
    for queue in QUEUES:
        channel.queue_delete(queue)
    channel.exchange_delete("fan")
    connection.close()
    found = [f"session file {name}" for name in os.listdir(place / "sessions")]
    found += [f"left in {place}: {name}" for name in os.listdir(place) if name.startswith((".", "aside"))]
    if (place / "lanes").exists():
        found += [f"lane {name} is still announced" for name in os.listdir(place / "lanes")]
    try:
        found += messages_left(place)
    except lmdb.Error as error:
        found.append(f"the store cannot be read: {error}")
    return found

"""The storm: workers that are killed again and again, calm in between, and the account of it.

Owns: forking, killing and replacing workers, the rounds, what must be true after each.
Must not know: what workers do (``workers``).

A round: kill a random worker every few milliseconds and fork another in its place; then stop killing
and publishing, and give the consumers that are alive some seconds to come to rest. Every confirmed
message must be acknowledged by then: a queue from which nothing comes, though consumers of it are
alive, is stuck. At the end everybody leaves, and nothing may be left.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from tests.storms import workers
from tests.storms.ledger import Account
from tests.storms.workers import RAGE, SETTLE, STOP, Mood, Storm
from tests.support import leaks
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import make_state_directory, remove_state_directory, state_environment

#: Workers at any time. The guardians see to it that every queue has a consumer once it is calm.
CAST: tuple[tuple[Callable[[Storm, int], None], int], ...] = (
    (workers.publisher, 3),
    (workers.streamer, 1),
    (workers.consumer, 3),
    (workers.guardian, 2),
    (workers.heaper, 2),
    (workers.visitor, 2),
    (workers.getter, 1),
    (workers.passer, 1),
)
#: Seconds a calm may take before what is left counts as stuck.
PATIENCE = 20.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Report:
    """What a storm came to."""

    kills: int = 0
    rounds: int = 0
    confirmed: int = 0
    deliveries: int = 0
    redelivered: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = (
            f"{self.kills} kills in {self.seconds:.0f} s ({60 * self.kills / max(self.seconds, 1):.0f} a minute), "
            f"{self.rounds} rounds, {self.confirmed} messages confirmed, {self.deliveries} deliveries, "
            f"{self.redelivered} of them redelivered; slowest calm {self.slowest:.1f} s; {len(self.faults)} faults"
        )
        return "\n  ".join([text, *self.faults[:40]])


class Director:
    """Runs one storm over one transport."""

    def __init__(self, transport: str, seed: int, durability: str = "disk", keep: bool = False) -> None:
        self.draw = random.Random(seed)
        self.keep = keep
        self.directory = make_state_directory()
        os.environ.update(state_environment(self.directory))
        self.transport = transport
        self.url = f"{transport}:///storm?durability={durability}"
        self.queues_before = leaks.sysv_queues()
        self.mood = Mood()
        self.number = 0
        self.round = 0
        self.report = Report()
        self.alive: dict[int, Callable[[Storm, int], None]] = {}
        self.numbers: dict[int, int] = {}
        self.errors = self.directory / "errors"

    @property
    def ledger(self) -> Path:
        """Where this round is written down."""
        return self.directory / f"ledger{self.round}"

    # -- workers ------------------------------------------------------------------------------

    def start(self, kind: Callable[[Storm, int], None]) -> int:
        """Fork a worker."""
        self.number += 1
        storm = Storm(self.url, self.ledger, self.mood)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if self.keep:
                    self.write_log(kind.__name__)
                    faulthandler.register(signal.SIGUSR1, (self.directory / f"stack{self.number}").open("w"))
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                kind(storm, self.number)
                code = 0
            except BaseException:
                with self.errors.open("a") as file:
                    file.write(f"{kind.__name__} {self.number}: {traceback.format_exc()}\n")
            finally:
                os._exit(code)
        self.alive[pid] = kind
        self.numbers[pid] = self.number
        return pid

    def write_log(self, kind: str) -> None:
        """In a worker: what haypile logs goes to a file."""
        handler = logging.FileHandler(self.directory / "log")
        handler.setFormatter(logging.Formatter(f"%(asctime)s {time.monotonic():.6f} {kind} {self.number} %(message)s"))
        logger = logging.getLogger("haypile")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)

    def replace(self, pid: int) -> None:
        """One has ended: another of its kind."""
        kind = self.alive.pop(pid)
        if self.mood.now == RAGE:
            self.start(kind)

    def reap(self) -> None:
        """Replace those that ended by themselves."""
        for pid in list(self.alive):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.replace(pid)

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until the kernel has taken it apart, most of the time."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.report.kills += 1
        if self.keep:
            with (self.directory / "log").open("a") as file:
                file.write(f"{time.monotonic():.6f} killed {self.numbers[pid]}\n")
        self.replace(pid)

    # -- a round ------------------------------------------------------------------------------

    def rage(self, seconds: float, most: int) -> None:
        """Kill for ``seconds``, or until there were ``most`` kills in all."""
        self.mood.set(RAGE)
        self.ledger.mkdir()
        for kind, count in CAST:
            for _ in range(count - sum(one is kind for one in self.alive.values())):
                self.start(kind)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.report.kills < most:
            time.sleep(self.draw.choice((0.0, 0.005, 0.02, 0.05, 0.1)) * self.draw.random())
            self.reap()
            count = self.draw.choice((1, 1, 1, 1, 2, 4))
            victims = self.draw.sample(list(self.alive), min(count, len(self.alive)))
            for pid in victims:
                self.kill(pid)

    def calm(self) -> None:
        """No more kills: everything confirmed must come to its end."""
        self.mood.set(SETTLE)
        self.reap()
        # Whoever consumed may have been killed: somebody must be there for each queue, alive or new.
        for kind in (workers.guardian, workers.visitor):
            if kind not in self.alive.values():
                self.start(kind)
        begin = time.monotonic()
        while True:
            account = Account.read(self.ledger)
            waited = time.monotonic() - begin
            if not account.lost() or waited > PATIENCE:
                break
            time.sleep(0.1)
        self.report.slowest = max(self.report.slowest, waited)
        self.tally(account)

    def tally(self, account: Account) -> None:
        """What the round came to."""
        report = self.report
        report.rounds += 1
        report.confirmed += len(account.confirmed)
        report.deliveries += account.fresh.total() + account.again.total()
        report.redelivered += account.again.total()
        lost, faults = account.lost(), report.faults
        if lost:
            faults += [f"round {self.round}: {len(lost)} lost or stuck: {lost[:5]}", *self.look()]
        for what, found in (
            ("came again without redelivered", account.doubled()),
            ("sent by nobody", account.invented()),
            ("out of order", account.disorder),
        ):
            if found:
                faults.append(f"round {self.round}: {len(found)} {what}: {found[:5]}")

    def look(self) -> list[str]:
        """How many messages the queues have, as another program sees it."""
        connection = workers.connect(Storm(self.url, self.ledger, self.mood))
        channel = connection.channel()
        found = []
        for name in (*workers.QUEUES, *workers.HEAPS):
            method = channel.queue_declare(name, passive=True).method
            found.append(f"{name}: {method.message_count} ready, {method.consumer_count} consumers")
        connection.close()
        return found

    # -- the whole ----------------------------------------------------------------------------

    def run(self, seconds: float, most: int, length: float) -> Report:
        """Rounds of ``length`` seconds until either is used up."""
        begin = time.monotonic()
        workers_storm = Storm(self.url, self.ledger, self.mood)
        connection = workers.connect(workers_storm)
        workers.declare(connection.channel())
        connection.close()
        try:
            while not self.report.faults and self.report.kills < most:
                left = seconds - (time.monotonic() - begin)
                if left <= 0 and self.round:
                    break
                self.round += 1
                self.rage(min(length, max(left, 1.0)), most)
                self.calm()
                if not self.report.faults:
                    self.mood.set(STOP)
                    self.end_workers()
                    shutil.rmtree(self.ledger)
        finally:
            self.mood.set(STOP)
            self.end_workers()
        self.finish()
        self.report.seconds = time.monotonic() - begin
        if not (self.keep and self.report.faults):
            remove_state_directory(self.directory)
        return self.report

    def end_workers(self) -> None:
        """Let everybody leave; who does not is stuck."""
        deadline = time.monotonic() + PATIENCE
        while self.alive and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.01)
        for pid, kind in list(self.alive.items()):
            self.report.faults.append(f"{kind.__name__} {self.numbers[pid]} (process {pid}) does not end")
            if not self.keep:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            del self.alive[pid]

    def finish(self) -> None:
        """Nobody is there any more: nothing may be left."""
        faults = self.report.faults
        if self.errors.exists():
            faults.append(self.errors.read_text()[-3000:])
        if faults:
            return
        connection = workers.connect(Storm(self.url, self.ledger, self.mood))
        channel = connection.channel()
        for name in (*workers.QUEUES, *workers.HEAPS, *(f"churn{i}" for i in range(3))):
            channel.queue_delete(name)
        channel.exchange_delete("fan")
        connection.close()
        queues = KernelQueues()
        place = self.directory / self.transport / "storm"
        try:
            faults += leaks.in_state(self.directory, queues)
        finally:
            queues.close()
        # In a namespace of its own, or while nobody else of this user makes any.
        faults += [f"System V queue {name}" for name in leaks.sysv_queues() - self.queues_before]
        faults += messages_left(place)
        faults += [f"left in {place}: {name}" for name in os.listdir(place) if name.startswith((".", "aside"))]
        lanes = place / "lanes"
        if lanes.exists():
            faults += [f"lane {name} is still registered" for name in os.listdir(lanes)]


def messages_left(place: Path) -> list[str]:
    """What lies in the store of a vhost without queues."""
    from haypile.hay.layout import HELD, READY, REFS, SESSION

    found = []
    env: Any = lmdb.open(str(place / "hay"), max_dbs=8, readonly=True, lock=False)
    body = env.open_db(b"body", create=False)
    with env.begin() as txn:
        if count := txn.stat(body)["entries"]:
            found.append(f"{count} bodies that no message has")
        kinds = {READY: "ready", HELD: "held", REFS: "shared", SESSION: "session"}
        for key, _ in txn.cursor():
            if key[0] in kinds:
                found.append(f"{kinds[key[0]]} row {key.hex()}")
    env.close()
    return found


def run(
    transport: str,
    *,
    seconds: float,
    most: int,
    seed: int,
    length: float,
    durability: str = "disk",
    keep: bool = False,
) -> Report:
    """One storm. In a process of its own where others need HAYPILE_DIR."""
    if threads := [name for name in sys.modules if name == "gevent"]:
        raise RuntimeError(f"a storm forks: not beside {threads}")
    return Director(transport, seed, durability, keep).run(seconds, most, length)

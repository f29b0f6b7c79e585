"""What else moves bytes between two processes: the kernel's bare queues (the limit) and Python's own.

Each rival runs in a process of its own (``python -m bench.rivals``), which forks the other end. A
rival whose library is not installed, or for whose queue the kernel has no room, is left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.metrics import Sample
from bench.stage import PATIENCE, Stage
from bench.transports import plain_environment

if TYPE_CHECKING:
    from bench.scenarios.scenario import Scale

#: A POSIX queue's greatest message by default, in bytes; also what a SysV queue takes.
KERNEL_MESSAGE = 8192


@dataclass(frozen=True)
class Rival:
    """Another way, as the scenarios see it."""

    name: str
    #: The module it needs.
    requires: str
    #: The greatest body in bytes; 0: no limit.
    limit: int = 0
    #: Whether a round trip is measured too.
    answers: bool = True

    def installed(self) -> bool:
        """Whether its library is here."""
        return importlib.util.find_spec(self.requires) is not None

    def carries(self, size: int) -> bool:
        """Whether a body of ``size`` bytes fits."""
        return not self.limit or size <= self.limit

    def through(self, size: int, scale: Scale, *, work: Callable[[Scale], int]) -> Sample:
        """One way, one producer and one consumer."""
        answer = self._run("through", size, work(scale))
        return {key: value for key, value in answer.items() if key in ("rate", "cpu")}

    def round_trip(self, scale: Scale, *, work: Callable[[Scale], int]) -> Sample:
        """There and back."""
        answer = self._run("round-trip", 100, work(scale))
        return {key: value for key, value in answer.items() if key in ("p50", "p99", "p999")}

    def _run(self, what: str, size: int, count: int) -> dict[str, float]:
        with Stage() as stage:
            arguments = ["-m", "bench.rivals", self.name, what, "--size", str(size), "--count", str(count)]
            program = stage.start(arguments, plain_environment())
            answer = program.expect("measured", PATIENCE + count / 500)
            program.leave()
        return answer


RIVALS = {
    rival.name: rival
    for rival in (
        Rival("posix_ipc", "posix_ipc", KERNEL_MESSAGE),
        Rival("sysv_ipc", "sysv_ipc", KERNEL_MESSAGE),
        Rival("mp.Queue", "multiprocessing"),
        Rival("mp.Pipe", "multiprocessing"),
        Rival("mp.Manager.Queue", "multiprocessing"),
        Rival("faster_fifo", "faster_fifo", answers=False),
        Rival("pyzmq", "zmq"),
    )
}

#: Queue-shaped ways, ours among them: ``python -m bench.queues`` compares them with those above.
SHAPED = {
    rival.name: rival
    for rival in (
        Rival("Queue", "haypile"),
        Rival("Queue-sysv", "haypile"),
        Rival("Pipe", "haypile"),
        Rival("posixmq", "haypile", KERNEL_MESSAGE),
        Rival("sysvmq", "haypile", KERNEL_MESSAGE),
        Rival("ipcqueue.posixmq", "ipcqueue", KERNEL_MESSAGE),
        Rival("ipcqueue.sysvmq", "ipcqueue", KERNEL_MESSAGE),
        Rival("foreign-in", "haypile", KERNEL_MESSAGE, answers=False),
        Rival("foreign-out", "haypile", KERNEL_MESSAGE, answers=False),
    )
}

#: The kernel's own: what the ratios to the limit are taken to.
LIMITS = ("posix_ipc", "sysv_ipc")

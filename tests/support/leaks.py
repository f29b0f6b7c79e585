"""What a test must not leave behind, and how it is found.

Owns: the list of things compared before and after a test: this process's descriptors and children, the kernel
queues of this machine, the vhosts of this user, and the session files below the test's state directory. Must not know:
pytest.

Everything is given a moment to go, since a child that ended takes its descriptors with it a little later.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from haypile.targets import base_directory, journal_directory
from tests.support.kernel_queues import KernelQueues

#: Seconds a leftover may still go away by itself.
GRACE = 2.0
#: How lanes are named (haypile.lanes.posix).
LANE_MARK = "haypile"
#: This process has kernel queues and /dev/shm to itself (``apart``).
apart = False
#: Where the vhosts and journals of programs are that name no directory; a test names one.
USERS = (base_directory(), journal_directory())


@dataclass(frozen=True)
class Traces:
    """What was there at one instant."""

    descriptors: dict[int, str]
    children: frozenset[int]
    queues: frozenset[str] | None
    sysv: frozenset[str]
    vhosts: frozenset[Path]


def children() -> frozenset[int]:
    """Pids of this process's children, of any of its threads."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:
            continue
    return frozenset(found)


def descriptors() -> dict[int, str]:
    """Open descriptors and what each is of."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one listdir used
    return found


def sysv_queues() -> frozenset[str]:
    """System V message queues of this user, as lanes are named: ``ID/KEY`` (haypile.lanes.sysv)."""
    try:
        rows = [line.split() for line in Path("/proc/sysvipc/msg").read_text().splitlines()[1:]]
    except OSError:
        return frozenset()
    # key msqid perms cbytes qnum lspid lrpid uid …
    return frozenset(f"{row[1]}/{row[0]}" for row in rows if int(row[7]) == os.getuid())


def vhosts() -> frozenset[Path]:
    """Vhosts and journals where users have theirs."""
    return frozenset(path for place in USERS for path in place.glob("*/*"))


def look(kernel_queues: KernelQueues) -> Traces:
    """The traces of this instant."""
    names = kernel_queues.names()
    ours = None if names is None else frozenset(name for name in names if LANE_MARK in name)
    return Traces(descriptors(), children(), ours, sysv_queues(), vhosts())


def left_behind(before: Traces, after: Traces, helpers: Iterable[int]) -> list[str]:
    """What ``after`` has that ``before`` had not, in words.

    ``helpers`` are pids of processes that serve the whole run.
    """
    found = []
    for number, target in after.descriptors.items():
        if before.descriptors.get(number) != target and not _harmless(target):
            found.append(f"descriptor {number} is open: {target}")
    for pid in after.children - before.children - set(helpers):
        found.append(f"child process {pid}: {_command(pid)}")
    if before.queues is not None and after.queues is not None and _alone():
        found += [f"kernel queue {name}" for name in after.queues - before.queues]
    if _alone():
        found += [f"System V queue {name}" for name in after.sysv - before.sysv]
        found += [f"vhost or journal {path}" for path in after.vhosts - before.vhosts]
    return found


def _alone() -> bool:
    """Whether every new kernel queue must be ours: elsewhere other workers and programs make theirs too."""
    return apart or (bool(os.environ.get("CI")) and "PYTEST_XDIST_WORKER" not in os.environ)


def _harmless(target: str) -> bool:
    return target.startswith(("/dev/urandom", "/dev/null")) or "/.hypothesis/" in target


def _command(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return line.decode(errors="replace") or "zombie"
    except OSError:
        return "gone"


def in_state(directory: Path, kernel_queues: KernelQueues) -> list[str]:
    """Session files below a state directory, and lanes of its stores, for a time when no connection is open.

    A lane belongs to a store when its name stands in the store's file.
    """
    files = _files(directory)
    found = [f"session file {path}" for path in files if path.parent.name == "sessions"]
    names = [name for name in kernel_queues.names() or () if LANE_MARK in name]
    names += sysv_queues()
    if names:
        for store in files:
            content = _content(store) if store.name == "data.mdb" else b""
            found += [f"kernel queue {name}" for name in names if name.strip("/").encode() in content]
    return found


def _files(directory: Path) -> list[Path]:
    """Those below ``directory``. Something may still go meanwhile, which ``Path.rglob`` takes for an error."""
    return sorted(Path(place, name) for place, _, names in os.walk(directory) for name in names)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def wait_until_gone(check: Callable[[], list[str]], logged: Iterable[logging.LogRecord] = ()) -> list[str]:
    """The result of ``check``, once it is empty or the grace has run out.

    What only waits to be collected is collected, but not before something was found: a collection takes longer
    than most tests. So is what only an error's traceback in a captured record of pika's log
    keeps alive.
    """
    deadline = time.monotonic() + GRACE
    while (found := check()) and time.monotonic() < deadline:
        for record in logged:
            record.msg, record.args, record.exc_info = record.getMessage(), None, None
        gc.collect()
        time.sleep(0.02)
    return found

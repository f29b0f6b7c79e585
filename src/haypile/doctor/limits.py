"""The kernel's limits for message queues, what is used of them, and what haypile would use.

Owns: reading them (/proc, getrlimit, statvfs) and the sums.
Must not know: vhosts, how to raise a limit (``raising``).

Sources: mq_overview(7), msgctl(2), proc(5), getrlimit(2). What cannot be read is None and said so.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haypile.broker.vhost import lanes_of
from haypile.lanes.errors import LaneError
from haypile.lanes.limits import SIZES, LaneRoom, cost

_PROC = Path("/proc/sys")
#: Where the kernel shows POSIX queues, if it is mounted.
MQUEUE = Path("/dev/mqueue")
#: Most lanes that are counted: more than any default allows.
MANY = 10_000


@dataclass(frozen=True)
class PosixLimits:
    """POSIX message queues."""

    #: Why they cannot be used here; "" when they can.
    missing: str
    queues_max: int | None
    msg_max: int | None
    msgsize_max: int | None
    #: RLIMIT_MSGQUEUE in bytes, now and the most this process may set; -1: unlimited.
    msgqueue: int
    msgqueue_hard: int
    #: Queues in this IPC namespace, and those of this user; None: /dev/mqueue is not mounted.
    queues: int | None
    own_queues: int | None


@dataclass(frozen=True)
class SysVLimits:
    """System V message queues."""

    missing: str
    msgmni: int | None
    msgmnb: int | None
    msgmax: int | None
    queues: int | None
    own_queues: int | None


@dataclass(frozen=True)
class StoreLimits:
    """Where the stores are, and descriptors."""

    directory: str
    #: Bytes of its file system, and those that are free; None: it is not there yet.
    size: int | None
    free: int | None
    descriptors: int
    descriptors_hard: int


def sysctl(name: str) -> int | None:
    """A number of the kernel's (``fs.mqueue.msg_max``); None where there is no such."""
    try:
        return int((_PROC / name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None


def _unlimited(value: int) -> int:
    return -1 if value == resource.RLIM_INFINITY else value


def missing(transport: str) -> str:
    """Why queues of this kind cannot be used here; "" when they can."""
    try:
        lanes = lanes_of(transport)
        lane = lanes.create("haypile-doctor", LaneRoom(limit=-1, used=0, maxmsg=1, msgsize=16))
    except LaneError as error:
        return str(error)
    if lane is None:
        return "the kernel has no room for one more, however small"
    lane.unlink()
    lane.close()
    return ""


def posix() -> PosixLimits:
    """Those of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE) if hasattr(resource, "RLIMIT_MSGQUEUE") else (-1, -1)
    queues = own = None
    try:
        if MQUEUE.is_mount():
            owners = [entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(MQUEUE)]
            queues, own = len(owners), owners.count(os.geteuid())
    except OSError:
        pass
    return PosixLimits(
        missing("posix"),
        sysctl("fs.mqueue.queues_max"),
        sysctl("fs.mqueue.msg_max"),
        sysctl("fs.mqueue.msgsize_max"),
        _unlimited(soft),
        _unlimited(hard),
        queues,
        own,
    )


def sysv() -> SysVLimits:
    """Those of this IPC namespace."""
    queues = own = None
    try:
        rows = [line.split() for line in Path("/proc/sysvipc/msg").read_text().splitlines()[1:]]
        # key msqid perms cbytes qnum lspid lrpid uid …
        queues, own = len(rows), sum(int(row[7]) == os.geteuid() for row in rows)
    except (OSError, ValueError, IndexError):
        pass
    return SysVLimits(
        missing("sysv"), sysctl("kernel.msgmni"), sysctl("kernel.msgmnb"), sysctl("kernel.msgmax"), queues, own
    )


def store(directory: Path) -> StoreLimits:
    """Of the file system that ``directory`` is on, or would be."""
    size = free = None
    for place in (directory, *directory.parents):
        try:
            state = os.statvfs(place)
        except OSError:
            continue
        size, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
        break
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return StoreLimits(str(directory), size, free, _unlimited(soft), _unlimited(hard))


def fitting(limits: PosixLimits) -> list[tuple[int, int, int]]:
    """How many queues of each size fit, if all were of it: (maxmsg, msgsize, queues)."""
    found: list[tuple[int, int, int]] = []
    for maxmsg, msgsize in SIZES:
        size = min(maxmsg, limits.msg_max or maxmsg), min(msgsize, limits.msgsize_max or msgsize)
        most = limits.queues_max if limits.queues_max is not None else MANY
        if limits.msgqueue >= 0:
            most = min(most, limits.msgqueue // cost(*size))
        if all(size != known[:2] for known in found):
            found.append((*size, most))
    return found


def expected(limits: PosixLimits) -> list[tuple[int, int, int]]:
    """The lanes that haypile makes one after the other, by size, until there is no room: (maxmsg, msgsize, lanes).

    A queue beyond them works through shared memory.
    """
    room = LaneRoom.measure()
    counts: dict[tuple[int, int], int] = {}
    most = min(limits.queues_max if limits.queues_max is not None else MANY, MANY)
    while sum(counts.values()) < most:
        size = next(room.sizes(), None)
        if size is None:
            break
        counts[size] = counts.get(size, 0) + 1
        room = room._replace(used=room.used + cost(*size))
    return [(*size, count) for size, count in counts.items()]


def as_dict(directory: Path) -> dict[str, Any]:
    """Everything, for printing and for other programs."""
    here, there = posix(), sysv()
    lane = {"bytes": there.msgmnb, "messages_of_100_bytes": None, "messages_of_5000_bytes": None}
    if there.msgmnb:
        lane["messages_of_100_bytes"] = there.msgmnb // 100
        lane["messages_of_5000_bytes"] = there.msgmnb // 5000
    return {
        "posix": {
            **vars(here),
            "fitting": [{"maxmsg": a, "msgsize": b, "queues": c} for a, b, c in fitting(here)],
            "haypile": [{"maxmsg": a, "msgsize": b, "lanes": c} for a, b, c in expected(here)],
        },
        "sysv": {**vars(there), "lane": lane},
        "store": vars(store(directory)),
    }

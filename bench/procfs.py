"""What Linux tells about a process: CPU seconds, memory, wake-ups; and the room a directory takes.

Owns: reading /proc. Must not know: whose processes they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

MEGABYTE = 1_000_000


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of ``pid`` that are alive, to the nanosecond (schedstat)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def cpu_seconds_ever(pid: int) -> float:
    """CPU time of ``pid``, ended threads included, to the clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """How often the threads of ``pid`` went to sleep by themselves."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


class Memory(NamedTuple):
    """Bytes of a process: resident, its own alone (no page shared with another), and not from a file."""

    resident: int
    own: int
    anonymous: int


def memory(pid: int) -> Memory:
    """The memory of ``pid`` now."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        sizes[name] = int(value.split()[0]) * 1024
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(sizes["Rss"], own, sizes["Anonymous"])


def directory_bytes(directory: Path) -> int:
    """Bytes of storage that the files below ``directory`` take."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def listener(port: int) -> int | None:
    """The process of this machine that listens on TCP ``port``; None when it cannot be told."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(os.readlink(fd) in inodes for fd in (entry / "fd").iterdir()):
                return int(entry.name)
        except OSError:
            continue
    return None

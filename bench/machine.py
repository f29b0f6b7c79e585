"""The facts of the machine and of the programs that a measurement depends on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIMITS = Path("/proc/sys/fs/mqueue")


def facts() -> dict[str, str]:
    """Name -> text, in the order to print."""
    found = {
        "cpu": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} usable",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pika": metadata.version("pika"),
        "haypile": _haypile(),
        "mqueue": ", ".join(
            f"{name} {_read(LIMITS / name)}" for name in ("msg_max", "msgsize_max", "queues_max")
        ),
        "msgqueue": _message_budget(),
    }
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"


def _cpu_model() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _message_budget() -> str:
    for line in _read(Path("/proc/self/limits")).splitlines():
        if line.startswith("Max msgqueue"):
            return " ".join(line.split()[2:5:2])
    return "?"


def _haypile() -> str:
    try:
        version = metadata.version("haypile")
    except metadata.PackageNotFoundError:
        version = "not installed"
    try:
        revision = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} ({revision})"

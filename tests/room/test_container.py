"""A container's /dev/shm of 64 MB, and a user who is not root: publishers fill it, are told so, and go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = 'mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm && exec "$0" "$@"'
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_a_full_container(transport: str, tmp_path: Path) -> None:
    """Blocked with a reason, nothing lost, in order, unblocked once somebody consumes."""
    can = ["unshare", "-m", "-i", "sh", "-c", SCRIPT, "true"]
    if subprocess.run(can, capture_output=True, check=False).returncode:
        pytest.skip("a /dev/shm of 64 MB cannot be mounted by this user")
    program = Path(__file__).parent / "programs" / "container.py"
    environment = {**os.environ, "HAYPILE_JOURNAL_DIR": str(tmp_path / "journal")}
    for name in ("HAYPILE_DIR", "XDG_RUNTIME_DIR", "HAYPILE_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        # Whoever is left when it takes too long is of a process group of its own.
        [
            "timeout",
            "-s",
            "KILL",
            "60",
            "unshare",
            "-m",
            "-i",
            "sh",
            "-c",
            SCRIPT,
            sys.executable,
            str(program),
            f"{transport}:///?durability=host",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "full True",
        "alive True",
        "in order [9000, 9000, 9000]",
        *["ended 0 True"] * 3,
        "user True",
    ]

"""A look at the POSIX message queues of this IPC namespace.

Owns: seeing their names, which only a mounted mqueue file system shows. Where /dev/mqueue is not mounted (as
in containers), a helper process mounts one in a mount namespace of its own, and it is read through
``/proc/PID/root``. Where that is not allowed either, ``names`` returns None: nothing can be said.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

_HELPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
def must(result):
    if result:
        sys.exit(os.strerror(ctypes.get_errno()))
must(libc.unshare(CLONE_NEWNS))
must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
must(libc.mount(b"none", b"/mnt", b"mqueue", 0, None))
print("mounted", flush=True)
sys.stdin.read()
"""


class KernelQueues:
    """The names of the POSIX queues that exist, without opening any."""

    def __init__(self) -> None:
        self.helper: subprocess.Popen[str] | None = None
        self.place: Path | None = None
        if Path("/proc/mounts").read_text().find(" /dev/mqueue mqueue ") >= 0:
            self.place = Path("/dev/mqueue")
        elif os.geteuid() == 0:
            self._mount()

    def _mount(self) -> None:
        command, pipe = [sys.executable, "-S", "-c", _HELPER], subprocess.PIPE
        self.helper = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self.helper.stdout is not None
        if self.helper.stdout.readline() == "mounted\n":
            self.place = Path(f"/proc/{self.helper.pid}/root/mnt")
            atexit.register(self.close)
        else:
            self.close()

    def names(self) -> frozenset[str] | None:
        """Every queue's name (with its slash), or None when they cannot be seen here."""
        if self.place is None:
            return None
        try:
            return frozenset("/" + name for name in os.listdir(self.place))
        except OSError:
            return None

    def close(self) -> None:
        """End the helper; its mount goes with it."""
        helper, self.helper, self.place = self.helper, None, None
        if helper is not None:
            assert helper.stdin is not None and helper.stdout is not None
            helper.stdin.close()
            helper.stdout.close()
            helper.wait(10)

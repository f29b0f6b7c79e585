"""A worker of pytest-xdist in kernel namespaces of its own.

Owns: which parts of the machine one worker's tests do not share with another's: kernel queues of both kinds, and
/dev/shm. Must not know: the tests.

What it cannot part is a user's share of kernel queues: RLIMIT_MSGQUEUE counts all processes of a user, and a test that
makes many lanes takes what another one's need. So there is no limit then; tests of the limit set their own. Both take
the rights of root; without them workers share the machine, and tests of lanes may find no room.
"""

from __future__ import annotations

import ctypes
import os
import resource

_NEWNS, _NEWIPC = 0x20000, 0x8000000
_REC, _PRIVATE = 0x4000, 0x40000
#: Linux has it, the module has no name for it.
_MSGQUEUE = 12


def make_room() -> None:
    """Let this process and those it starts have as many kernel queues as they may."""
    try:
        resource.setrlimit(_MSGQUEUE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        hard = resource.getrlimit(_MSGQUEUE)[1]
        resource.setrlimit(_MSGQUEUE, (hard, hard))


def go_apart() -> bool:
    """Give this thread, and whatever it starts from now on, queues and /dev/shm of its own; False: it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS | _NEWIPC) or libc.mount(b"none", b"/", None, _REC | _PRIVATE, None):
        return False
    # What is mounted there shows the queues that were left.
    if os.path.ismount("/dev/mqueue") and libc.mount(b"mqueue", b"/dev/mqueue", b"mqueue", 0, None):
        return False
    return not libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"mode=1777")

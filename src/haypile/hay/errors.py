"""What can go wrong in the store, said once.

Owns: the exceptions that leave ``haypile.hay``.
Must not know: AMQP reply codes; the broker chooses those.

LMDB's and the kernel's own exceptions are translated where they arise (``txn``, ``store``,
``gates``). Anything else that leaves this package is a bug.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


class HayError(Exception):
    """Base of the store's exceptions."""


class UnusableDirectory(HayError):
    """The state directory cannot be used safely; the text names it and says what to do."""


class Damaged(HayError):
    """There are bytes in the store that haypile did not write there."""


def damaged(directory: Path, error: Exception) -> Damaged:
    """What LMDB's ``error`` means that nothing explains but damage."""
    return Damaged(
        f"the store in {directory} is damaged: {error}; end all programs that use it, then remove that directory (what "
        "the journal has comes back)"
    )


class OutOfRoom(HayError):
    """No memory or disk space for this transaction; nothing of it was written."""


class JournalLost(HayError):
    """The journal cannot be written: what is not on disk yet will not get there."""


class NestedTransaction(HayError, RuntimeError):
    """``Hay.write()`` inside a write transaction of the same thread."""


class Busy(HayError):
    """Somebody else holds the write lock, and who asks must not wait: nothing was done."""


class HayClosed(HayError):
    """The store was closed."""


#: What a person can do about a full file system of the store.
REMEDY = "consume messages, free or enlarge that file system (containers: --shm-size), or set HAYPILE_DIR to another"

#: Errors of the kernel that say that a limit is reached.
LIMITS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


def explain(error: OSError, path: Path | str) -> str:
    """What ``error`` says about making ``path``: the limit that was reached, and how to raise it."""
    text = error.strerror or str(error)
    if error.errno == errno.EMFILE:
        return f"{text}: this process has reached RLIMIT_NOFILE; raise it (ulimit -n, LimitNOFILE= of systemd)"
    if error.errno == errno.ENFILE:
        return f"{text}: the system has reached fs.file-max; raise it (sysctl fs.file-max)"
    if error.errno == errno.EDQUOT:
        return f"{text}: the user's quota of that file system is used up"
    if error.errno == errno.ENOSPC:
        try:
            state = os.statvfs(os.path.dirname(path))
        except OSError:
            return f"{text}; {REMEDY}"
        if state.f_bavail and state.f_files and not state.f_favail:
            return f"{text}: that file system has no inodes left (df -i); remove files there, or mount it with more"
        return f"{text}; {REMEDY}"
    return text

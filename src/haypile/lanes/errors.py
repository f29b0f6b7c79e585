"""What can go wrong with kernel queues, said once.

Owns: the exceptions that leave ``haypile.lanes``, and the translation of posix_ipc's.
Must not know: AMQP; the store.

posix_ipc raises exceptions without errno; what each means was measured, see ``why_not_made``.
Anything else that leaves this package is a bug.
"""

from __future__ import annotations

import enum
import errno


class LaneError(Exception):
    """Base of the lanes' exceptions."""


class LaneGone(LaneError):
    """The lane was closed, or is not there."""


class TooBig(LaneError):
    """The record does not fit the lane's message size; it was not sent."""


class NoRoom(LaneError):
    """No memory or disk space for a landing."""


class Refusal(enum.Enum):
    """Why the kernel made no queue."""

    #: RLIMIT_MSGQUEUE is used up, or the process has too many descriptors (EMFILE).
    BUDGET = (
        "the user's kernel queues have used up RLIMIT_MSGQUEUE (raise it: ulimit -q, LimitMSGQUEUE= of systemd, "
        "docker run --ulimit msgqueue=-1), or this process its descriptors (ulimit -n)"
    )
    #: fs.mqueue.queues_max is reached (ENOSPC).
    QUEUES = "the number of kernel queues has reached fs.mqueue.queues_max (raise it: sysctl fs.mqueue.queues_max=1024)"
    #: fs.mqueue.msg_max or msgsize_max is smaller than what was asked (EINVAL).
    SIZE = "fs.mqueue.msg_max or fs.mqueue.msgsize_max is too small"
    #: No POSIX message queues here at all, or not for us (ENOSYS, EACCES).
    NONE = "the kernel offers no POSIX message queues"


def why_not_made(error: Exception) -> Refusal:
    """What the exception of a failed creation means."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM) or "maximum number of files" in text:
        return Refusal.BUDGET
    if number == errno.ENOSPC or "Insufficient space" in text:
        return Refusal.QUEUES
    if isinstance(error, ValueError) or number == errno.EINVAL:
        return Refusal.SIZE
    if isinstance(error, MemoryError):
        return Refusal.BUDGET
    return Refusal.NONE

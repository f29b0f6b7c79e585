"""Lanes over System V message queues (sysvipc(7)).

Owns: handles of System V queues, their making, and the meaning of sysv_ipc's exceptions.
Must not know: what is sent.

Such a queue has no descriptor to wait for: whoever sends must tell sleepers (``Lane.fd`` is None).
Queues are made with mode 0600 under a random key, by IPC_CREAT | IPC_EXCL. A lane's name is
``ID/KEY``: an identifier is not used again soon, so a stranger's queue under a key that was ours is
told from ours. Receiving into a landing is ``msgrcv`` by ctypes: the kernel copies into the landing
itself. It writes the type of the message, a C long, just before its text.

Invariants: every message has the type ``TYPE``, which is larger than any length, so that a slot whose
receiver died before it noted the length shows it. A removed queue takes its messages with it, and
handles do not keep it: it is removed only after ``seal`` (nothing is sent any more) and a drain.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable
from ctypes import c_int, c_long, c_size_t, c_void_p
from itertools import repeat, starmap
from operator import itemgetter
from pathlib import Path
from typing import Any

import sysv_ipc

from haypile.lanes.errors import LaneGone, TooBig
from haypile.lanes.limits import LaneRoom

LOGGER = logging.getLogger("haypile")

#: The type of every message in a lane: fits a C long of 32 bits, exceeds every length.
TYPE = 0x7FFFFFFF
#: Bytes that msgrcv writes before the text.
LEAD = ctypes.sizeof(c_long)
#: Largest record, bytes: what a landing's slot takes. sysv_ipc must be told with every handle.
MSGSIZE = 8192
#: A lane holds no more bytes than this, where the system would allow it: what is in the lane is
#: moved on by transactions of a few dozen messages.
QBYTES = 65_536

#: The kernel's keys are C ints. sysv_ipc takes a long for one and cuts it, so that the queue would
#: have another key than the one announced, and be swept as a stray.
KEY_MOST = 0x7FFFFFFF

_BusyError = sysv_ipc.BusyError
_PROC = Path("/proc/sys/kernel")
_ANY = c_long(0)
NOWAIT = c_int(0o4000)
#: How often a sender looks at a full lane, others running in between, before it sleeps: to be woken takes
#: longer than a consumer that runs takes to make room.
YIELDS = 16
#: How long a sender sleeps between two looks at a full lane, s.
_NAP = 0.00005

msgrcv = ctypes.CDLL(None, use_errno=True).msgrcv
_get_errno = ctypes.get_errno
_body = itemgetter(0)


class SysVLane:
    """A handle of one System V message queue. See ``lane.Lane``."""

    __slots__ = ("_id", "_qbytes", "_queue", "_receive", "_send", "_size", "maxmsg", "msgsize", "name")

    #: There is none: bells must be rung.
    fd: int | None = None
    lead = LEAD

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._send = queue.send
        self._receive = queue.receive
        self._id = c_int(queue.id)
        self._qbytes = min(system_limit("msgmnb", 16_384), QBYTES)
        self.name = f"{queue.id}/{queue.key}"
        self.msgsize: int = min(MSGSIZE, system_limit("msgmax", 8192), self._qbytes)
        #: Empty messages count as a byte each (ipc/msg.c, msg_fits_inqueue).
        self.maxmsg: int = self._qbytes
        self._size = c_size_t(self.msgsize)

    @property
    def ours(self) -> bool:
        """See ``Lane.ours``. Only who made a queue may remove it or change its size, whatever its mode."""
        try:
            return os.geteuid() in (0, self._queue.cuid)
        except (sysv_ipc.Error, OSError) as error:
            raise LaneGone(f"{self.name}: {error}") from error

    def send(self, record: bytes) -> bool:
        """See ``Lane.send``."""
        try:
            self._send(record, False, TYPE)
        except _BusyError:
            return False
        except Exception as error:
            if len(record) > self.msgsize:
                raise TooBig(f"{len(record)} bytes do not fit {self.name} ({self.msgsize})") from error
            raise LaneGone(f"{self.name}: {error}") from error
        return True

    def send_wait(self, record: bytes, seconds: float, consumers: int = 1) -> bool:
        """See ``Lane.send_wait``. Looks again and again: msgsnd knows no time limit."""
        for _ in range(YIELDS):
            if self.send(record):
                return True
            os.sched_yield()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(_NAP)
            if self.send(record):
                return True
        return False

    def receive(self) -> bytes | None:
        """See ``Lane.receive``."""
        try:
            record: bytes = self._receive(False)[0]
        except _BusyError:
            return None
        except Exception as error:
            raise LaneGone(f"{self.name}: {error}") from error
        return record

    def receive_some(self, most: int) -> list[bytes]:
        """See ``Lane.receive_some``."""
        got: list[bytes] = []
        try:
            # One is appended after the other: an error leaves what came before it.
            got.extend(map(_body, starmap(self._receive, repeat((False,), most))))
        except _BusyError:
            pass
        except Exception as error:
            if not got:
                raise LaneGone(f"{self.name}: {error}") from error
        return got

    def receive_into(self, address: c_void_p) -> int:
        """See ``Lane.receive_into``."""
        length: int = msgrcv(self._id, address, self._size, _ANY, NOWAIT)
        if length >= 0:
            return length
        number = _get_errno()
        if number in (errno.ENOMSG, errno.EAGAIN):
            return -1
        if number == errno.EINTR:
            return self.receive_into(address)
        raise LaneGone(f"{self.name}: {os.strerror(number)}")

    def depth(self) -> int:
        """See ``Lane.depth``."""
        try:
            depth: int = self._queue.current_messages
        except Exception as error:
            raise LaneGone(f"{self.name}: {error}") from error
        return depth

    def seal(self) -> None:
        """See ``Lane.seal``. A queue of no bytes takes not even an empty message.

        What is another user's cannot be removed by us, and need not be sealed.
        """
        if self.ours:
            self._limit_to(0)

    def unseal(self) -> None:
        """See ``Lane.unseal``."""
        if self.ours:
            self._limit_to(self._qbytes)

    def _limit_to(self, qbytes: int) -> None:
        try:
            self._queue.max_size = qbytes
        except (sysv_ipc.Error, OSError) as error:
            raise LaneGone(f"{self.name}: {error}") from error

    def close(self) -> None:
        """See ``Lane.close``."""
        self._id = c_int(-1)
        self._queue = _Closed()
        self._send = self._receive = _closed

    def unlink(self) -> None:
        """See ``Lane.unlink``. What is still in the lane goes with it."""
        unlink(self.name)


class _Closed:
    """Stands for the queue in a handle that was closed."""

    def __getattr__(self, name: str) -> Any:
        raise OSError(errno.EBADF, "the handle is closed")


def _closed(*_: object) -> Any:
    raise OSError(errno.EBADF, "the handle is closed")


def find(name: str) -> Any | None:
    """The queue of the lane called ``name``; None when it is gone, or not for us."""
    identifier, _, key = name.partition("/")
    try:
        queue = sysv_ipc.MessageQueue(int(key), 0, 0o600, MSGSIZE)
        return queue if queue.id == int(identifier) else None
    except (sysv_ipc.Error, OSError, ValueError):
        return None


def unlink(name: str) -> bool:
    """Remove the queue of a lane, if it is there; False when it is another user's."""
    queue = find(name)
    if queue is not None:
        try:
            queue.remove()
        except sysv_ipc.PermissionsError:
            return False
        except (sysv_ipc.Error, OSError):
            # ExistentialError, or EINVAL: somebody was faster.
            pass
    return True


def unlink_key(key: int, group: int | None = None) -> bool:
    """Remove the queue under ``key``, if there is one that this user made; False for one of ``group``'s others."""
    try:
        queue = sysv_ipc.MessageQueue(key, 0, 0o600, MSGSIZE)
        if queue.cuid == os.geteuid():
            queue.remove()
        elif group is not None and queue.gid == group:
            return False
    except (sysv_ipc.Error, OSError):
        # Gone, or a stranger's.
        pass
    return True


def random_key() -> int:
    """A key that most likely nobody has."""
    return int.from_bytes(os.urandom(8), "little") % KEY_MOST + 1


def _make(announce: Callable[[str], None] | None, group: int | None) -> Any:
    while True:
        key = random_key()
        if announce is not None:
            announce(str(key))
        try:
            queue = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600, MSGSIZE)
        except sysv_ipc.ExistentialError:
            continue
        if group is not None:
            queue.gid = group
            queue.mode = 0o660
        return queue


class SysVLanes:
    """Makes and opens System V lanes. See ``lane.Lanes``."""

    pollable = False

    def __init__(self, group: int | None = None) -> None:
        """``group``: whose members may use the lanes that are made; None: this user alone."""
        self._warned = False
        self._group = group

    def create(
        self, prefix: str, room: LaneRoom | None = None, announce: Callable[[str], None] | None = None
    ) -> SysVLane | None:
        """See ``Lanes.create``; keys are numbers, ``prefix`` is for nothing."""
        try:
            lane = SysVLane(_make(announce, self._group))
        except (sysv_ipc.Error, OSError, MemoryError) as error:
            if not self._warned:
                self._warned = True
                LOGGER.warning(
                    "no kernel queue for another AMQP queue: %s (raise it: sysctl kernel.msgmni=32000); it works "
                    "through shared memory, more slowly",
                    error,
                )
            return None
        if system_limit("msgmnb", 16_384) > QBYTES:
            lane.unseal()
        return lane

    def room(self, lanes: Iterable[tuple[int, int]]) -> LaneRoom:
        """See ``Lanes.room``: users share no budget, only the system has a number of queues."""
        return LaneRoom(limit=-1, used=0, maxmsg=QBYTES, msgsize=MSGSIZE)

    def unlink(self, name: str) -> bool:
        """See ``Lanes.unlink``."""
        return unlink(name)

    def label(self, name: str) -> str:
        """See ``Lanes.label``: the identifier is known only when the queue is made."""
        return name.partition("/")[2]

    def is_there(self, name: str) -> bool:
        """See ``Lanes.is_there``: one that is there can be opened."""
        return find(name) is not None

    def unlink_label(self, label: str) -> bool:
        """See ``Lanes.unlink_label``."""
        return not label.isdecimal() or unlink_key(int(label), self._group)

    def open(self, name: str) -> SysVLane | None:
        """See ``Lanes.open``."""
        queue = find(name)
        return None if queue is None else SysVLane(queue)


def system_limit(name: str, default: int) -> int:
    """A limit of the kernel for System V queues (kernel.NAME)."""
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return default

"""Lanes over POSIX message queues (mq_overview(7)).

Owns: handles of POSIX queues, their making, and the meaning of posix_ipc's exceptions.
Must not know: what is sent.

On Linux a queue's descriptor works in epoll. Queues are made with mode 0600 under a random name, by
O_CREAT | O_EXCL, so that nobody's queue is ever taken for ours. Sending and receiving bytes goes
through posix_ipc; receiving into a landing goes through ctypes with prebuilt arguments, because
the kernel must copy into the landing itself: a process killed a moment later has lost nothing.
The same descriptor serves both.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterable
from ctypes import c_int, c_size_t, c_void_p
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any

import posix_ipc

from haypile.lanes.backoff import Backoff
from haypile.lanes.errors import LaneGone, Refusal, TooBig, why_not_made
from haypile.lanes.limits import LaneRoom
from haypile.lanes.patience import Patience
from haypile.lanes.support import check_support

LOGGER = logging.getLogger("haypile")

#: How often a sender looks for room, others running in between; and how many looks are left out at most.
YIELDS, IN_VAIN = 16, 64

_BusyError = posix_ipc.BusyError
_get_errno = ctypes.get_errno
_body = itemgetter(0)
_NO_PRIORITY = c_void_p(None)


def _find_mq_receive() -> Any:
    # glibc before 2.34 keeps it in librt.
    for library in (None, "librt.so.1"):
        try:
            return ctypes.CDLL(library, use_errno=True).mq_receive
        except (AttributeError, OSError):
            continue
    raise ImportError("the C library has no mq_receive")


check_support("posix")
mq_receive = _find_mq_receive()


class PosixLane:
    """A handle of one POSIX message queue. See ``lane.Lane``."""

    __slots__ = (
        "_looks",
        "_mqd",
        "_patience",
        "_queue",
        "_receive",
        "_send",
        "_size",
        "fd",
        "maxmsg",
        "msgsize",
        "name",
    )

    lead = 0

    def __init__(self, queue: Any) -> None:
        queue.block = False
        self._queue = queue
        self._send = queue.send
        self._receive = queue.receive
        self.name: str = queue.name
        self.fd: int = queue.mqd
        self.maxmsg: int = queue.max_messages
        self.msgsize: int = queue.max_message_size
        self._mqd = c_int(self.fd)
        self._size = c_size_t(self.msgsize)
        self._looks = Backoff(IN_VAIN)
        #: Made when the lane was full for the first time.
        self._patience: Patience | None = None

    @property
    def ours(self) -> bool:
        """See ``Lane.ours``. Names of queues lie in a sticky directory."""
        try:
            return os.geteuid() in (0, os.fstat(self.fd).st_uid)
        except OSError as error:
            raise LaneGone(f"{self.name}: {error}") from error

    def send(self, record: bytes) -> bool:
        """See ``Lane.send``."""
        try:
            self._send(record)
        except _BusyError:
            return False
        except Exception as error:
            return self._send_failed(error, record)
        return True

    def _send_failed(self, error: Exception, record: bytes) -> bool:
        if isinstance(error, ValueError):
            raise TooBig(f"{len(record)} bytes do not fit {self.name} ({self.msgsize})") from error
        if isinstance(error, posix_ipc.SignalError):
            return self.send(record)
        raise LaneGone(f"{self.name}: {error}") from error

    def send_wait(self, record: bytes, seconds: float, consumers: int = 1) -> bool:
        """See ``Lane.send_wait``."""
        if consumers == 1 and self._look_for_room(record):
            return True
        try:
            if self._patience is None:
                self._patience = Patience(self.name, self.fd)
            return self._patience.send(record, 0, seconds)
        except OSError:  # no descriptor left for it
            return self.send(record)
        except Exception as error:
            return self._send_failed(error, record)

    def _look_for_room(self, record: bytes) -> bool:
        """A lone consumer that runs makes room for several sooner than a sleeper wakes, and need not wake anybody.

        Left out for a while where it was in vain. (Of several consumers some sleep: they need the processor.)
        """
        if self._looks.leaves_out():
            return False
        half = self.maxmsg // 2
        for _ in range(YIELDS):
            os.sched_yield()
            if self.depth() <= half and self.send(record):
                self._looks.paid()
                return True
        self._looks.in_vain()
        return False

    def receive(self) -> bytes | None:
        """See ``Lane.receive``."""
        try:
            record: bytes = self._receive()[0]
        except _BusyError:
            return None
        except posix_ipc.SignalError:
            return self.receive()
        except Exception as error:
            raise LaneGone(f"{self.name}: {error}") from error
        return record

    def receive_some(self, most: int) -> list[bytes]:
        """See ``Lane.receive_some``."""
        got: list[bytes] = []
        try:
            # One is appended after the other: an error leaves what came before it.
            got.extend(map(_body, starmap(self._receive, repeat((), most))))
        except (_BusyError, posix_ipc.SignalError):
            pass
        except Exception as error:
            if not got:
                raise LaneGone(f"{self.name}: {error}") from error
        return got

    def receive_into(self, address: c_void_p) -> int:
        """See ``Lane.receive_into``."""
        length: int = mq_receive(self._mqd, address, self._size, _NO_PRIORITY)
        if length >= 0:
            return length
        number = _get_errno()
        if number == errno.EAGAIN:
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
        """See ``Lane.seal``: who holds a descriptor reaches the queue after ``unlink``, too."""

    def unseal(self) -> None:
        """See ``Lane.unseal``."""

    def close(self) -> None:
        """See ``Lane.close``."""
        if self.fd >= 0:
            # Prebuilt arguments must not name a descriptor that something else may get.
            self._mqd = c_int(-1)
            self.fd = -1
            self._queue.close()
            if self._patience is not None:
                self._patience.close()
                self._patience = None

    def unlink(self) -> None:
        """See ``Lane.unlink``."""
        unlink(self.name)


def unlink(name: str) -> bool:
    """Remove the name of a lane, if it is there; False when it is another user's."""
    try:
        posix_ipc.unlink_message_queue(name)
    except posix_ipc.ExistentialError:
        pass
    except posix_ipc.PermissionsError:
        return False
    return True


class PosixLanes:
    """Makes and opens POSIX lanes. See ``lane.Lanes``."""

    pollable = True

    def __init__(self, group: int | None = None) -> None:
        """``group``: whose members may use the lanes that are made; None: this user alone."""
        self._warned: set[Refusal] = set()
        self._group = group

    def create(
        self, prefix: str, room: LaneRoom | None = None, announce: Callable[[str], None] | None = None
    ) -> PosixLane | None:
        """See ``Lanes.create``. Says once per reason, through the ``haypile`` logger, why not."""
        why = Refusal.BUDGET
        # One name for all attempts: each that is announced must be looked for.
        name = _name(prefix, announce)
        room = room or LaneRoom.measure()
        for maxmsg, msgsize in room.sizes():
            spare = None
            try:
                name, spare = self._spare(name, prefix, room.spare(maxmsg, msgsize), maxmsg, announce)
                return PosixLane(self._make(name, prefix, maxmsg, msgsize, announce))
            except (OSError, ValueError, MemoryError, posix_ipc.Error) as error:
                why = why_not_made(error)
                if why in (Refusal.QUEUES, Refusal.NONE):
                    break
            finally:
                if spare is not None:
                    spare.close()
        if room.least is None:
            self._warn(why)
        return None

    def _spare(
        self, name: str, prefix: str, size: int, maxmsg: int, announce: Callable[[str], None] | None
    ) -> tuple[str, Any | None]:
        """Room for lanes to come, held while a lane is made, as a queue whose name is gone; and the lane's name.

        ``maxmsg`` messages of ``size`` bytes; 0: none is needed. Of lanes that were removed, and that some process has
        not closed yet, nobody tells how much they take.
        """
        if not size:
            return name, None
        queue = self._make(name, prefix, maxmsg, size, announce)
        queue.unlink()
        return queue.name, queue

    def _make(
        self, name: str, prefix: str, maxmsg: int, msgsize: int, announce: Callable[[str], None] | None
    ) -> Any:
        while True:
            try:
                queue = posix_ipc.MessageQueue(
                    name, posix_ipc.O_CREX, mode=0o600, max_messages=maxmsg, max_message_size=msgsize
                )
            except posix_ipc.ExistentialError:
                name = _name(prefix, announce)
                continue
            if self._group is not None:
                os.fchown(queue.mqd, -1, self._group)
                os.fchmod(queue.mqd, 0o660)
            return queue

    def _warn(self, why: Refusal) -> None:
        if why not in self._warned:
            self._warned.add(why)
            LOGGER.warning(
                "no kernel queue for another AMQP queue: %s; it works through shared memory, more slowly",
                why.value,
            )

    def room(self, lanes: Iterable[tuple[int, int]]) -> LaneRoom:
        """See ``Lanes.room``."""
        return LaneRoom.measure(lanes)

    def unlink(self, name: str) -> bool:
        """See ``Lanes.unlink``."""
        return unlink(name)

    def label(self, name: str) -> str:
        """See ``Lanes.label``."""
        return name.strip("/")

    def is_there(self, name: str) -> bool:
        """See ``Lanes.is_there``."""
        try:
            PosixLane(posix_ipc.MessageQueue(name)).close()
        except posix_ipc.ExistentialError:
            return False
        except (posix_ipc.Error, OSError):
            pass
        return True

    def unlink_label(self, label: str) -> bool:
        """See ``Lanes.unlink_label``."""
        return unlink("/" + label)

    def open(self, name: str) -> PosixLane | None:
        """See ``Lanes.open``."""
        try:
            return PosixLane(posix_ipc.MessageQueue(name))
        except (posix_ipc.Error, OSError):
            # Gone; or another user's, or no descriptor left: not to be used either.
            return None


def random_part() -> str:
    """What makes a name that nobody has."""
    return os.urandom(8).hex()


def _name(prefix: str, announce: Callable[[str], None] | None) -> str:
    """A name that nobody has, announced."""
    label = f"{prefix.strip('/')}-{random_part()}"
    if announce is not None:
        announce(label)
    return "/" + label

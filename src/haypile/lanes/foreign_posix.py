"""POSIX queues that some other program owns.

Owns: opening them with the rights we have, sending and receiving with priorities.
Must not know: AMQP; records.

``receive_into`` has the kernel write the priority 16 bytes before the body, first the priority, then
the body: a slot whose priority was written holds a message.
"""

from __future__ import annotations

import errno
import os
from ctypes import c_int, c_size_t, c_void_p, get_errno
from typing import Any

import posix_ipc

from haypile.lanes.errors import LaneError, LaneGone, TooBig
from haypile.lanes.foreign import POSIX, Address, NotAllowed, NotThere
from haypile.lanes.patience import Patience
from haypile.lanes.posix import mq_receive

LEAD = 16
#: Highest priority (sysconf(_SC_MQ_PRIO_MAX) - 1 on Linux).
MAX_PRIORITY = 32_767


class ForeignPosix:
    """See ``foreign.ForeignLane``."""

    kind = POSIX
    lead = LEAD

    def __init__(self, queue: Any) -> None:
        queue.block = False
        self._queue = queue
        self.name: str = queue.name
        self.fd: int = queue.mqd
        self.msgsize: int = queue.max_message_size
        self._mqd = c_int(self.fd)
        self._size = c_size_t(self.msgsize)
        self._bodies: dict[int | None, c_void_p] = {}
        #: Made when the queue was full for the first time.
        self._patience: Patience | None = None

    def send(self, body: bytes, number: int) -> bool:
        """See ``ForeignLane.send``."""
        try:
            self._queue.send(body, None, number)
        except posix_ipc.BusyError:
            return False
        except posix_ipc.SignalError:
            return self.send(body, number)
        except Exception as error:
            if len(body) > self.msgsize:
                raise TooBig(f"{len(body)} bytes do not fit posix:{self.name} ({self.msgsize})") from error
            raise self._failed(error) from error
        return True

    def _failed(self, error: Exception) -> LaneError:
        if "Bad file descriptor" in str(error) and self.fd >= 0:
            return NotAllowed(f"posix:{self.name}: no permission in that direction")
        return LaneGone(f"posix:{self.name}: {error}")

    def send_wait(self, body: bytes, number: int, seconds: float) -> bool:
        """See ``ForeignLane.send_wait``."""
        if self.send(body, number):
            return True
        try:
            if self._patience is None:
                self._patience = Patience(self.name, self.fd)
            return self._patience.send(body, number, seconds)
        except Exception as error:
            raise self._failed(error) from error

    def receive(self) -> tuple[bytes, int] | None:
        """See ``ForeignLane.receive``."""
        try:
            received: tuple[bytes, int] = self._queue.receive()
        except posix_ipc.BusyError:
            return None
        except posix_ipc.SignalError:
            return self.receive()
        except Exception as error:
            raise self._failed(error) from error
        return received

    def receive_some(self, most: int) -> list[tuple[bytes, int]]:
        """See ``ForeignLane.receive_some``."""
        receive = self._queue.receive
        got: list[tuple[bytes, int]] = []
        while len(got) < most:
            try:
                while len(got) < most:
                    got.append(receive())
            except posix_ipc.BusyError:
                break
            except posix_ipc.SignalError:
                continue
            except Exception as error:
                if got:
                    # The next attempt meets it again.
                    break
                raise self._failed(error) from error
        return got

    def receive_into(self, address: c_void_p) -> int:
        """See ``ForeignLane.receive_into``."""
        body = self._bodies.get(address.value)
        if body is None:
            body = self._bodies[address.value] = c_void_p((address.value or 0) + LEAD)
        length: int = mq_receive(self._mqd, body, self._size, address)
        if length >= 0:
            return length
        number = get_errno()
        if number == errno.EAGAIN:
            return -1
        if number == errno.EINTR:
            return self.receive_into(address)
        raise self._failed(OSError(number, os.strerror(number)))

    def depth(self) -> int:
        """See ``ForeignLane.depth``."""
        try:
            return int(self._queue.current_messages)
        except Exception as error:
            raise LaneGone(f"posix:{self.name}: {error}") from error

    def gone(self) -> bool:
        """See ``ForeignLane.gone``."""
        try:
            return not os.fstat(self.fd).st_nlink
        except OSError:
            return True

    def close(self) -> None:
        """See ``ForeignLane.close``."""
        if self.fd >= 0:
            self._mqd = c_int(-1)
            self.fd = -1
            self._queue.close()
            if self._patience is not None:
                self._patience.close()
                self._patience = None


def open_posix(address: Address) -> ForeignPosix:
    """See ``foreign.open_foreign``. With the right to send or to receive alone, the other fails later."""
    for rights in ({}, {"write": False}, {"read": False}):
        try:
            return ForeignPosix(posix_ipc.MessageQueue(address.name, **rights))
        except posix_ipc.PermissionsError:
            continue
        except posix_ipc.ExistentialError as error:
            if address.makes:
                return _make(address)
            raise NotThere(f"there is no POSIX queue {address.name}") from error
        except (posix_ipc.Error, OSError, ValueError) as error:
            raise LaneError(f"{address}: {error}") from error
    raise NotAllowed(f"{address}: permission denied")


def _make(address: Address) -> ForeignPosix:
    sizes = {}
    if address.maxmsg:
        sizes["max_messages"] = address.maxmsg
    if address.msgsize:
        sizes["max_message_size"] = address.msgsize
    try:
        return ForeignPosix(posix_ipc.MessageQueue(address.name, posix_ipc.O_CREX, mode=0o600, **sizes))
    except posix_ipc.ExistentialError:
        # Somebody was faster.
        return open_posix(address._replace(maxmsg=None, msgsize=None))
    except (posix_ipc.Error, OSError, ValueError, MemoryError) as error:
        raise LaneError(f"{address} cannot be made: {error}") from error

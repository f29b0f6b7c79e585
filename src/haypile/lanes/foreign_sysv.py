"""System V queues that some other program owns.

Owns: opening them, sending and receiving with types, and noticing that something came.
Must not know: AMQP; records.

Nobody rings a bell for us here, and such a queue has no descriptor: a thread for each queue and process
waits in ``msgrcv`` with no room for a message. The kernel wakes it with E2BIG when one comes and leaves
the message where it is. So an empty message is the only one the thread can get in hand; it passes it on.
A thread cannot be called back from there: it is used again by the next handle of the same queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
import time
from collections import deque
from ctypes import c_int, c_long, c_size_t, c_void_p
from typing import Any

import sysv_ipc

from haypile.lanes.errors import LaneError, LaneGone, TooBig
from haypile.lanes.foreign import SYSV, Address, NotAllowed, NotThere
from haypile.lanes.sysv import LEAD, NOWAIT, msgrcv, system_limit

_ANY = c_long(0)
_NAP = 0.00005


class Watcher:
    """The thread that waits for messages of one queue, shared by the handles of this process."""

    _all: dict[int, Watcher] = {}
    _lock = threading.Lock()

    def __init__(self, queue: int) -> None:
        self.queue = queue
        self.handles: list[ForeignSysV] = []
        self.armed = threading.Semaphore(0)
        self.waiting = False
        #: Types of empty messages that the thread received.
        self.empty: deque[int] = deque()
        self.thread = threading.Thread(target=self.run, name=f"haypile-sysv-{queue}", daemon=True)
        self.thread.start()

    @classmethod
    def join(cls, handle: ForeignSysV) -> Watcher:
        """The watcher of the handle's queue."""
        with cls._lock:
            watcher = cls._all.get(handle.id)
            if watcher is None or not watcher.thread.is_alive():
                watcher = cls._all[handle.id] = cls(handle.id)
            watcher.handles.append(handle)
        return watcher

    def leave(self, handle: ForeignSysV) -> None:
        """The handle is closed."""
        with self._lock:
            self.handles.remove(handle)

    def arm(self) -> None:
        """A handle found the queue empty: say when it is not any more."""
        with self._lock:
            if not self.waiting:
                self.waiting = True
                self.armed.release()

    def run(self) -> None:
        """The thread."""
        kind = c_long(0)
        nothing = c_size_t(0)
        while True:
            self.armed.acquire()
            result = msgrcv(c_int(self.queue), ctypes.byref(kind), nothing, _ANY, c_int(0))
            number = ctypes.get_errno()
            with self._lock:
                self.waiting = False
                if result == 0:
                    self.empty.append(kind.value)
                for handle in self.handles:
                    handle.ring()
            if result < 0 and number not in (errno.E2BIG, errno.EINTR):
                return

    @classmethod
    def forget(cls) -> None:
        """In a forked child: threads are the parent's."""
        cls._all = {}
        cls._lock = threading.Lock()


os.register_at_fork(after_in_child=Watcher.forget)


class ForeignSysV:
    """See ``foreign.ForeignLane``."""

    kind = SYSV
    lead = LEAD

    def __init__(self, queue: Any, address: Address) -> None:
        self._queue = queue
        self.id: int = queue.id
        self.name = str(address)
        self.msgsize: int = min(8192, system_limit("msgmax", 8192))
        self._id = c_int(self.id)
        self._size = c_size_t(self.msgsize)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        #: Readable: there may be something.
        self.fd = self._reader
        self._pid = os.getpid()
        self._watcher: Watcher | None = None
        self.ring()

    def ring(self) -> None:
        """Make ``fd`` readable."""
        # Full: rung often enough. Closed: nobody listens.
        with contextlib.suppress(OSError):
            os.write(self._writer, b"!")

    def _silence(self) -> None:
        """The queue was found empty: ``fd`` is readable again when something comes."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        if self._watcher is None:
            self._watcher = Watcher.join(self)
        self._watcher.arm()

    def send(self, body: bytes, number: int) -> bool:
        """See ``ForeignLane.send``."""
        try:
            self._queue.send(body, False, number)
        except sysv_ipc.BusyError:
            return False
        except Exception as error:
            if len(body) > self.msgsize:
                raise TooBig(f"{len(body)} bytes do not fit {self.name} ({self.msgsize})") from error
            raise self._failed(error) from error
        return True

    def _failed(self, error: Exception) -> LaneError:
        if isinstance(error, sysv_ipc.PermissionsError):
            return NotAllowed(f"{self.name}: no permission in that direction")
        return LaneGone(f"{self.name}: {error}")

    def send_wait(self, body: bytes, number: int, seconds: float) -> bool:
        """See ``ForeignLane.send_wait``."""
        deadline = time.monotonic() + seconds
        while not self.send(body, number):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_NAP)
        return True

    def receive(self) -> tuple[bytes, int] | None:
        """See ``ForeignLane.receive``."""
        if self._watcher is not None and self._watcher.empty:
            return b"", self._watcher.empty.popleft()
        try:
            received: tuple[bytes, int] = self._queue.receive(False)
        except sysv_ipc.BusyError:
            self._silence()
            return None
        except Exception as error:
            raise self._failed(error) from error
        return received

    def receive_some(self, most: int) -> list[tuple[bytes, int]]:
        """See ``ForeignLane.receive_some``."""
        got: list[tuple[bytes, int]] = []
        try:
            while len(got) < most and (received := self.receive()) is not None:
                got.append(received)
        except LaneError:
            # The next attempt meets it again.
            if not got:
                raise
        return got

    def receive_into(self, address: c_void_p) -> int:
        """See ``ForeignLane.receive_into``."""
        if self._watcher is not None and self._watcher.empty:
            c_long.from_address(address.value or 0).value = self._watcher.empty.popleft()
            return 0
        length: int = msgrcv(self._id, address, self._size, _ANY, NOWAIT)
        if length >= 0:
            return length
        number = ctypes.get_errno()
        if number in (errno.ENOMSG, errno.EAGAIN):
            self._silence()
            return -1
        if number == errno.EINTR:
            return self.receive_into(address)
        if number == errno.EACCES:
            raise NotAllowed(f"{self.name}: no permission to receive")
        raise LaneGone(f"{self.name}: {os.strerror(number)}")

    def depth(self) -> int:
        """See ``ForeignLane.depth``."""
        try:
            return int(self._queue.current_messages)
        except Exception as error:
            raise LaneGone(f"{self.name}: {error}") from error

    def gone(self) -> bool:
        """See ``ForeignLane.gone``."""
        try:
            self.depth()
        except LaneGone:
            return True
        return False

    def close(self) -> None:
        """See ``ForeignLane.close``."""
        if self.fd < 0:
            return
        self.fd = -1
        if self._watcher is not None and self._pid == os.getpid():
            self._watcher.leave(self)
        os.close(self._reader)
        os.close(self._writer)
        self._writer = -1
        self._id = c_int(-1)


def open_sysv(address: Address) -> ForeignSysV:
    """See ``foreign.open_foreign``."""
    key = int(address.name)
    try:
        return ForeignSysV(sysv_ipc.MessageQueue(key, 0, 0o600, 8192), address)
    except sysv_ipc.PermissionsError as error:
        raise NotAllowed(f"{address}: permission denied") from error
    except sysv_ipc.ExistentialError as error:
        if not address.makes:
            raise NotThere(f"there is no System V queue with key {key}") from error
    except (sysv_ipc.Error, OSError) as error:
        raise LaneError(f"{address}: {error}") from error
    try:
        queue = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600, 8192)
        if address.maxmsg and address.msgsize:
            queue.max_size = min(address.maxmsg * address.msgsize, queue.max_size)
    except sysv_ipc.ExistentialError:
        return open_sysv(address._replace(maxmsg=None, msgsize=None))
    except (sysv_ipc.Error, OSError) as error:
        raise LaneError(f"{address} cannot be made: {error}") from error
    return ForeignSysV(queue, address)

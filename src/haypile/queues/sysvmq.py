"""``ipcqueue.sysvmq``: a System V message queue of pickled items with types.

Owns: its interface and wire format (one pickle of protocol 1 in each message).
Must not know: AMQP, lanes: such a queue belongs to the program.
"""

from __future__ import annotations

import errno
import os
import queue
from typing import Any

from haypile.queues.mqerrors import BaseQueueError, PickleSerializer, RawSerializer, check_trust

__all__ = ["PickleSerializer", "Queue", "QueueError", "RawSerializer"]

_WRITABLE_BY_OTHERS = 0o022
#: Largest message that is asked for (kernel.msgmax is smaller mostly), bytes.
_LARGEST = 1 << 20


class QueueError(BaseQueueError):
    """See ``mqerrors.BaseQueueError``."""


def _module() -> Any:
    """sysv_ipc, where it is and has message queues. Raises ``QueueError``."""
    try:
        import sysv_ipc  # noqa: PLC0415 - absent where there are no System V queues

        return sysv_ipc if hasattr(sysv_ipc, "MessageQueue") else _missing("it was built without them")
    except ImportError as error:
        return _missing(str(error))


def _missing(why: str) -> Any:
    text = f"System V message queues are not to be had here ({why}); install sysv_ipc, or use haypile.queues.posixmq"
    raise QueueError(QueueError.NO_SYSTEM_RESOURCES, text) from None


def _translated(error: Exception) -> QueueError:
    sysv_ipc = _module()

    number = QueueError.ERROR
    if isinstance(error, sysv_ipc.PermissionsError):
        number = QueueError.NO_PERMISSIONS
    elif isinstance(error, sysv_ipc.ExistentialError):
        number = QueueError.INVALID_DESCRIPTOR
    elif isinstance(error, sysv_ipc.Error) and "ignal" in str(error):
        number = QueueError.INTERRUPTED
    elif isinstance(error, OSError) and error.errno == 7:
        number = QueueError.TOO_BIG_MESSAGE
    elif isinstance(error, (ValueError, OverflowError)):
        number = QueueError.INVALID_VALUE
    elif isinstance(error, OSError):
        number = QueueError.INVALID_DESCRIPTOR if error.errno == 22 else QueueError.NO_SYSTEM_RESOURCES
    return QueueError(number)


class Queue:
    """A System V message queue. One that others can write into is not unpickled unless the program says so."""

    def __init__(self, key: int | None = None, max_bytes: int | None = None, serializer: Any = None) -> None:
        """Open or make the queue ``key``; None or 0: a private one. Raises ``QueueError``, OverflowError."""
        sysv_ipc = _module()

        if key is not None and key < 0:
            raise OverflowError("can't convert negative number to unsigned")
        self._busy, self._gone = sysv_ipc.BusyError, sysv_ipc.ExistentialError
        self._errors = (sysv_ipc.Error, OSError, ValueError, OverflowError)
        try:
            made = sysv_ipc.MessageQueue(key or sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREAT, 0o600, _LARGEST)
            if max_bytes is not None:
                made.max_size = max_bytes
        except self._errors as error:
            raise _translated(error) from error
        self._queue: Any = made
        self._key = key
        self._max_bytes: int = made.max_size if max_bytes is None else max_bytes
        self._largest = min(self._max_bytes, _msgmax())
        self._serializer = PickleSerializer if serializer is None else serializer
        writable = made.uid != os.geteuid() or bool(made.mode & _WRITABLE_BY_OTHERS)
        check_trust(self._serializer, serializer is None, writable, QueueError, f"the queue with key {key}")
        self._dumps, self._loads = self._serializer.dumps, self._serializer.loads
        self._send, self._receive = made.send, made.receive

    def close(self) -> None:
        """Remove the queue, as ipcqueue does. Raises ``QueueError``."""
        try:
            self._queue.remove()
        except self._errors as error:
            raise QueueError(QueueError.INVALID_DESCRIPTOR) from error

    def put(self, item: Any, block: bool = True, msg_type: int = 1) -> None:
        """Put ``item`` with a type, which is a positive number. Raises ``queue.Full``, ``QueueError``."""
        data = self._dumps(item)
        try:
            self._send(data, block, msg_type)
        except self._busy:
            raise queue.Full from None
        except self._errors as error:
            if len(data) > self._largest:
                raise QueueError(QueueError.TOO_BIG_MESSAGE) from error
            if getattr(error, "errno", None) == errno.EINVAL:
                # The queue was removed: msgsnd(2) says so less clearly than msgrcv(2), and so does ipcqueue.
                raise QueueError(QueueError.INVALID_VALUE) from error
            raise _translated(error) from error

    def put_nowait(self, item: Any, msg_type: int = 1) -> None:
        """``put`` without waiting."""
        self.put(item, False, msg_type)

    def get(self, block: bool = True, msg_type: int = 0) -> Any:
        """Remove and return an item.

        ``msg_type`` 0: the first; above: the first of that type; below: the first of the lowest type up to its
        absolute value. Raises ``queue.Empty``, ``QueueError``.
        """
        try:
            data = self._receive(False, msg_type)[0]
        except self._busy:
            if not block:
                raise queue.Empty from None
            data = self._wait(msg_type)
        except self._gone as error:
            # It was removed before: msgrcv(2) says EINVAL. Removed while we wait, it says EIDRM.
            raise QueueError(QueueError.INVALID_VALUE) from error
        except self._errors as error:
            raise _translated(error) from error
        return self._loads(data)

    def _wait(self, msg_type: int) -> bytes:
        try:
            data: bytes = self._receive(True, msg_type)[0]
            return data
        except self._errors as error:
            raise _translated(error) from error

    def get_nowait(self, msg_type: int = 0) -> Any:
        """``get`` without waiting."""
        return self.get(False, msg_type)

    def qattr(self) -> dict[str, int]:
        """``{'size': 3, 'max_bytes': 8192}``. Raises ``QueueError``."""
        try:
            return {"size": self._queue.current_messages, "max_bytes": self._queue.max_size}
        except self._errors as error:
            raise QueueError(QueueError.INVALID_DESCRIPTOR) from error

    def qsize(self) -> int:
        """Items in it."""
        return self.qattr()["size"]


def _msgmax() -> int:
    try:
        with open("/proc/sys/kernel/msgmax") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 8192

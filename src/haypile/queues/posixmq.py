"""``ipcqueue.posixmq``: a POSIX message queue of pickled items with priorities.

Owns: its interface and wire format (one pickle of protocol 1 in each message).
Must not know: AMQP, lanes: such a queue belongs to the program.
"""

from __future__ import annotations

import os
import queue
import stat
from typing import Any, ClassVar

from haypile.queues.mqerrors import BaseQueueError, PickleSerializer, RawSerializer, check_trust

__all__ = ["PickleSerializer", "Queue", "QueueError", "RawSerializer", "unlink"]


class QueueError(BaseQueueError):
    """See ``mqerrors.BaseQueueError``."""

    TIMEOUT: ClassVar[int] = 8
    DOES_NOT_EXIST: ClassVar[int] = 9


def _module() -> Any:
    """posix_ipc, where it is and has message queues. Raises ``QueueError``."""
    try:
        import posix_ipc  # noqa: PLC0415 - absent where there are no POSIX queues

        return posix_ipc if hasattr(posix_ipc, "MessageQueue") else _missing("it was built without them")
    except ImportError as error:
        return _missing(str(error))


def _missing(why: str) -> Any:
    text = f"POSIX message queues are not to be had here ({why}); install posix_ipc, or use haypile.queues.sysvmq"
    raise QueueError(QueueError.NO_SYSTEM_RESOURCES, text) from None


def _translated(error: Exception) -> QueueError:
    posix_ipc = _module()

    text = str(error)
    number = QueueError.ERROR
    if isinstance(error, posix_ipc.PermissionsError):
        number = QueueError.NO_PERMISSIONS
    elif isinstance(error, posix_ipc.ExistentialError):
        number = QueueError.DOES_NOT_EXIST
    elif isinstance(error, posix_ipc.SignalError):
        number = QueueError.INTERRUPTED
    elif "too long" in text and "message" in text:
        number = QueueError.TOO_BIG_MESSAGE
    elif "descriptor" in text or "closed" in text:
        number = QueueError.INVALID_DESCRIPTOR
    elif isinstance(error, (ValueError, OverflowError)):
        number = QueueError.INVALID_VALUE
    elif isinstance(error, (OSError, MemoryError)):
        number = QueueError.NO_SYSTEM_RESOURCES
    return QueueError(number)


def unlink(name: str) -> None:
    """Remove a message queue. Raises ``QueueError``."""
    posix_ipc = _module()

    try:
        posix_ipc.unlink_message_queue(name)
    except (posix_ipc.Error, OSError, ValueError) as error:
        raise _translated(error) from error


class Queue:
    """A POSIX message queue. One that others can write into is not unpickled unless the program says so."""

    def __init__(self, name: str, maxsize: int = 10, maxmsgsize: int = 1024, serializer: Any = None) -> None:
        """Open or make the queue ``name`` (``/…``). Raises ``QueueError``."""
        posix_ipc = _module()

        self._busy = posix_ipc.BusyError
        self._errors = (posix_ipc.Error, OSError, ValueError, OverflowError)
        try:
            opened = posix_ipc.MessageQueue(
                name, posix_ipc.O_CREAT, 0o600, max_messages=maxsize, max_message_size=maxmsgsize
            )
        except (*self._errors, MemoryError) as error:
            raise _translated(error) from error
        self._queue: Any = opened
        self._name, self._maxsize, self._max_msg_size = name, maxsize, maxmsgsize
        state = os.fstat(opened.mqd)
        self._serializer = PickleSerializer if serializer is None else serializer
        writable = state.st_uid != os.geteuid() or bool(state.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
        try:
            check_trust(self._serializer, serializer is None, writable, QueueError, f"the queue {name}")
        except QueueError:
            opened.close()
            raise
        self._dumps, self._loads = self._serializer.dumps, self._serializer.loads
        self._send, self._receive = opened.send, opened.receive

    def close(self) -> None:
        """Close it; the queue stays. Raises ``QueueError``."""
        if self._queue is None:
            raise QueueError(QueueError.INVALID_DESCRIPTOR)
        self._queue.close()
        self._queue = None
        self._send = self._receive = _closed

    def unlink(self) -> None:
        """Remove the queue. Raises ``QueueError``."""
        unlink(self._name)

    def put(self, item: Any, block: bool = True, timeout: float | None = None, priority: int = 0) -> None:
        """Put ``item``; items of higher ``priority`` come first. Raises ``queue.Full``, ``QueueError``."""
        try:
            self._send(self._dumps(item), timeout if block else 0, priority)
        except self._busy:
            raise queue.Full from None
        except self._errors as error:
            if priority < 0:
                # As ipcqueue's C code has it.
                raise OverflowError("can't convert negative number to unsigned") from None
            raise _translated(error) from error

    def put_nowait(self, item: Any, priority: int = 0) -> None:
        """``put`` without waiting."""
        self.put(item, False, None, priority)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item. Raises ``queue.Empty``, ``QueueError``."""
        try:
            data = self._receive(timeout if block else 0)[0]
        except self._busy:
            raise queue.Empty from None
        except self._errors as error:
            raise _translated(error) from error
        return self._loads(data)

    def get_nowait(self) -> Any:
        """``get`` without waiting."""
        return self.get(False)

    def qattr(self) -> dict[str, int]:
        """``{'size': 5, 'max_size': 10, 'max_msgbytes': 1024}``. Raises ``QueueError``."""
        if self._queue is None:
            raise QueueError(QueueError.INVALID_DESCRIPTOR)
        return {
            "size": self._queue.current_messages,
            "max_size": self._queue.max_messages,
            "max_msgbytes": self._queue.max_message_size,
        }

    def qsize(self) -> int:
        """Items in it."""
        return self.qattr()["size"]

    def fileno(self) -> int:
        """Readable while there is an item (ipcqueue has none)."""
        if self._queue is None:
            raise QueueError(QueueError.INVALID_DESCRIPTOR)
        return int(self._queue.mqd)


def _closed(*_: object) -> Any:
    raise QueueError(QueueError.INVALID_DESCRIPTOR)

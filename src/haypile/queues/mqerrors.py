"""What ipcqueue says of kernel queues: its serialisers and its error numbers.

Owns: ``QueueError`` and the refusal to unpickle what others may write.
Must not know: either kind of queue.
"""

from __future__ import annotations

import pickle
import warnings
from typing import Any

from haypile.queues.serial import UnsafePickle


class PickleSerializer:
    """ipcqueue's: pickle, protocol 1."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """To bytes."""
        return pickle.dumps(obj, protocol=1)

    @staticmethod
    def loads(data: bytes) -> Any:
        """From bytes."""
        return pickle.loads(data)


class RawSerializer:
    """ipcqueue's: bytes as they are."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """To bytes."""
        data: bytes = obj
        return data

    @staticmethod
    def loads(data: bytes) -> Any:
        """From bytes."""
        return data


class BaseQueueError(Exception):
    """An error of a kernel queue: ``errno`` is one of the constants, ``msg`` says it."""

    ERROR = 1
    INVALID_VALUE = 2
    NO_PERMISSIONS = 3
    NO_SYSTEM_RESOURCES = 4
    INVALID_DESCRIPTOR = 5
    INTERRUPTED = 6
    TOO_BIG_MESSAGE = 7

    _texts = {
        1: "Error",
        2: "Invalid value",
        3: "No permissions",
        4: "No system resources",
        5: "Invalid queue descriptor",
        6: "Interrupted by signal",
        7: "Data is too big",
        8: "Timeout",
        9: "Queue does not exist",
    }

    def __init__(self, errno: int, msg: str | None = None) -> None:
        self.errno = errno
        self.msg = msg or self._texts.get(errno, self._texts[1])
        super().__init__(f"{self.errno}, {self.msg}")


def check_trust(serializer: Any, default: bool, writable: bool, error: type[BaseQueueError], what: str) -> None:
    """Refuse, or (where the program asked for it) warn, when unpickling what others can write."""
    if not writable or serializer is not PickleSerializer:
        return
    if default:
        raise error(
            BaseQueueError.NO_PERMISSIONS,
            f"others can write into {what}, and unpickling what they write would run their code: "
            "pass serializer=PickleSerializer if you trust them, or another serializer",
        )
    warnings.warn(f"items of {what} may be written by others, and unpickling runs what they say", UnsafePickle, 3)

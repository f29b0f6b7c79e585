"""Waiting for room in a full POSIX queue.

Owns: the descriptor that waits (not to wait is a property of a descriptor: mq_open(3), O_NONBLOCK).
Must not know: what is sent, what an error means to whom.

The kernel takes the message of the one who has waited longest as soon as there is room: one is woken, and has sent.
Those who poll for room instead are all woken, for a place that one of them gets.
"""

from __future__ import annotations

import os
import time
from typing import Any

import posix_ipc


class Patience:
    """A way into the queue called ``name``, of which ``fd`` is open."""

    __slots__ = ("_queue",)

    def __init__(self, name: str, fd: int) -> None:
        """Raises OSError and posix_ipc.Error; posix_ipc.ExistentialError where ``name`` is another queue's by now."""
        self._queue: Any = posix_ipc.MessageQueue(name, read=False)
        if not os.path.sameopenfile(self._queue.mqd, fd):
            self._queue.close()
            raise posix_ipc.ExistentialError("its owner made another one of that name")

    def send(self, record: bytes, priority: int, seconds: float) -> bool:
        """Send within ``seconds``; False when there was no room. Raises OSError, ValueError and posix_ipc.Error."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._queue.send(record, left, priority)
            except posix_ipc.BusyError:
                return False
            except posix_ipc.SignalError:
                continue
            return True
        return False

    def close(self) -> None:
        """Give the descriptor back."""
        self._queue.close()

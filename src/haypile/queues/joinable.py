"""``multiprocessing.JoinableQueue``.

Owns: ``task_done`` and ``join``.
Must not know: lanes.

An item that was fetched and is not done is held in the store for the process that fetched it. So
``join`` waits for exactly what is in the queue or held, and the items of a process that was killed come
back to the queue instead of making ``join`` wait for ever.
"""

from __future__ import annotations

import os
import time
from typing import Any

from haypile.broker.recovery import recover_dead
from haypile.queues.local import LocalQueue
from haypile.queues.place import LATE, SOON
from haypile.queues.port import Port

#: More items than any queue gets: with a limit, a broker's queue keeps all of them in the store.
NO_LIMIT = 2**31 - 1


class JoinableQueue(LocalQueue):
    """A queue whose items are to be reported done. ``task_done`` is for the oldest item this process fetched."""

    _holds = True

    def _arguments(self, maxsize: int) -> dict[str, Any]:
        return super()._arguments(maxsize if maxsize > 0 else NO_LIMIT)

    def full(self) -> bool:
        """See ``Queue``."""
        return self._maxsize < NO_LIMIT and super().full()

    def task_done(self) -> None:
        """An item is done.

        Raises ValueError when this process holds none.
        """
        ports = self._open()
        with ports.getting:
            if not ports.getter().done():
                raise ValueError("task_done() called too many times")

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all items are done; False when ``timeout`` (seconds) was over before."""
        ports = self._open()
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = SOON
        looked = time.monotonic()
        while True:
            with ports.putting:
                port = ports.putter()
                if not unfinished(port):
                    return True
                if time.monotonic() - looked > 0.1:
                    looked = time.monotonic()
                    recover_dead(port.session)
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, LATE)


def unfinished(port: Port) -> int:
    """Items in the queue, and those that some process holds."""
    if os.getpid() != port.pid:
        raise ValueError("this port is the parent's")
    with port.session.vhost.hay.read() as reading:
        count = reading.count(port.queue.id)[0] + port.session.swaths.lying(reading, port.handle)
        for session in reading.session_ids():
            count += sum(entry.queue == port.queue.id for _, entry in reading.taken(session))
    return count

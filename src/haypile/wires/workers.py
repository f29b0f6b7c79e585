"""Threads for what waits for a disk, so that a loop does not.

Owns: one thread for each piece of work, as long as it takes: a process with nothing to write has none.
Must not know: what the work is.

``threading.Thread.start`` waits until the new thread runs, which on a busy machine is as long as the scheduler
likes. These threads are started without; the end of the process waits for them here.
"""

from __future__ import annotations

import _thread
import atexit
import os
from collections.abc import Callable

#: Of each piece of work under way, a lock that is held as long.
_running: set[_thread.LockType] = set()


def run(work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
    """Call ``work`` in another thread, and then, there too, ``done`` with what it raised.

    The process does not end before that.
    """
    running = _thread.allocate_lock()
    running.acquire()
    _running.add(running)

    def job() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        try:
            done(error)
        finally:
            # Its traceback holds this frame, and those hold the store's pages.
            error = None
            _running.discard(running)
            running.release()

    try:
        _thread.start_new_thread(job, ())
    except RuntimeError:  # the interpreter is ending, or there are too many threads
        job()


def idle() -> bool:
    """Whether nothing is under way."""
    return not _running


def join() -> None:
    """Wait for all that is under way."""
    while _running:
        for running in list(_running):
            with running:
                pass


atexit.register(join)
# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_running.clear)

"""Threads for what waits for a disk, so that a loop does not.

Owns: one thread for each piece of work, as long as it takes: a process with nothing to write has none.
Must not know: what the work is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def run(work: Callable[[], object], done: Callable[[BaseException | None], None]) -> None:
    """Call ``work`` in another thread, and then, there too, ``done`` with what it raised.

    The process does not end before that.
    """

    def job() -> None:
        error: BaseException | None = None
        # Whoever started us waits to hear that we run, and would wait for the interpreter's lock after that.
        time.sleep(0)
        try:
            work()
        except BaseException as raised:
            error = raised
        try:
            done(error)
        finally:
            # Its traceback holds this frame, and those hold the store's pages.
            error = None

    thread = threading.Thread(target=job, name="haypile", daemon=False)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending, or there are too many threads
        job()

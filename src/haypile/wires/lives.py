"""Sessions and the life of this process.

Owns: closing sessions whose connection was dropped, at the end of the process, and cutting off those
that a forked child inherits.
Must not know: AMQP, loops.

A dropped connection is found by the garbage collector, which may run in the middle of anything, a
transaction of another connection included: its session is closed by the next wire that is about to sleep, or by a
thread, where there is no wire.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from pika import exceptions

if TYPE_CHECKING:
    from haypile.broker.idle import IdleSession

LOGGER = logging.getLogger("haypile")


_process = os.getpid()
_holders: weakref.WeakSet[Any] = weakref.WeakSet()
#: Sessions whose connection was dropped, to be closed at a safe moment.
dropped: deque[IdleSession] = deque()
#: Held by a thread that closes them.
_reaping = threading.Lock()


class _NoPressure:
    """No publish of an orphan waits for room."""

    waiting = ()


class Orphan:
    """Stands where a forked child would find its parent's session: a clear error for whoever uses it."""

    def __init__(self, session: IdleSession, parent: int) -> None:
        # Kept: what the session's parts do when they are freed is the parent's business.
        self.kept = session
        self.parent = parent

    def refuse(self, *arguments: Any) -> NoReturn:
        """Whatever was asked."""
        raise exceptions.ConnectionWrongStateError(
            f"this connection belongs to the parent process {self.parent}; open a new one in the forked child"
        )

    pressure = _NoPressure()
    handle = on_ready = on_timer = before_sleep = pump = peek = doze = refuse

    def close(self) -> None:
        """The parent goes on with it."""

    abandon = close


def begin(holder: Any) -> None:
    """Look after ``holder``, which has a session or None as ``session``, from now on."""
    if holder.offload is None:
        reap()
    _holders.add(holder)


def close(session: IdleSession) -> None:
    """Close ``session``; what fails is left to the next process that looks for dead sessions."""
    try:
        session.close()
    except Exception:
        name = session.vhost.name
        LOGGER.warning("vhost %r: a session could not give back all it held; another one will", name, exc_info=True)


def close_elsewhere(session: Any) -> None:
    """Close ``session`` for a loop, which neither waits for it nor need turn any more."""
    session.abandon()


def drop(session: IdleSession) -> None:
    """The connection of ``session`` is being freed."""
    dropped.append(session)
    if not any(holder.session is not None for holder in list(_holders)):
        # What can be done where the collector runs is little: this thread may hold any lock.
        with suppress(RuntimeError):
            _thread.start_new_thread(_reap_in_thread, ())


def _reap_in_thread() -> None:
    with _reaping:
        reap()


def reap(closer: Callable[[IdleSession], None] = close) -> None:
    """Close what was dropped; only where this thread is in no transaction and holds no lock."""
    while dropped:
        try:
            session = dropped.popleft()
        except IndexError:  # another thread was faster
            return
        closer(session)


def _at_exit() -> None:
    _reap_in_thread()
    for holder in list(_holders):
        session, holder.session = holder.session, None
        if session is not None:
            close(session)


def _after_fork() -> None:
    global _process, _reaping
    parent, _process = _process, os.getpid()
    _reaping = threading.Lock()
    for holder in list(_holders):
        if holder.session is not None:
            holder.session.closing = True  # short ways to it (``broker.express``) look at that
            holder.session = Orphan(holder.session, parent)
    kept.extend(dropped)
    dropped.clear()


#: Sessions of the parent that nobody here may free.
kept: list[IdleSession] = []

atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)

"""Fault points: where a process can be killed, between every two steps of the protocol.

Owns: the table of steps and of effects, and their wrapping in a process that is to be killed.
Must not know: what is done with messages (``scenarios``), what must be true afterwards (``check``).

Other processes see of a process only its **effects**: kernel calls on lanes, commits, words of the gate page and of
the landing, files. So to be killed between any two steps is to be killed before or after an effect. The table wraps
the functions that have one, in a forked process; the code itself has no hook and pays nothing. A **step** is
what the code is doing meanwhile, by its name in ``tests/model/lane_protocol.py`` where it stands there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import haypile.fronts.blocking  # noqa: F401 - everything that is wrapped is loaded now
from haypile.broker import aging, backlog, consuming, lanekeeping, queue, recovery, settle, source, swaths
from haypile.broker.batch import Batch
from haypile.broker.due import Due
from haypile.broker.holdings import Holdings, Moving
from haypile.broker.publisher import Publisher
from haypile.broker.session import Session
from haypile.broker.swaths import Swaths
from haypile.hay import journal, swath
from haypile.hay import sessions as hay_sessions
from haypile.hay.announced import Announced
from haypile.hay.journal import Journal
from haypile.hay.sessions import SessionFile
from haypile.hay.store import Hay
from haypile.hay.writing import Writing
from haypile.lanes import landing, posix, slab, sysv

#: Step: the function that takes it.
STEPS: dict[str, tuple[Any, str]] = {
    "offer": (queue.QueueHandle, "offer"),
    "rescue": (Session, "rescue"),
    "store": (Publisher, "store"),
    "store batch": (Batch, "_store"),
    "wake": (Session, "wake"),
    "joins": (consuming, "start"),
    "makes lane": (lanekeeping, "make_lane"),
    "land": (source.Source, "land"),
    "take": (source.Source, "take_from_lane"),
    "serve hay": (backlog, "serve"),
    "join": (backlog, "join"),
    "refit": (backlog, "refit"),
    "get": (backlog, "get"),
    "leave token": (queue.QueueHandle, "leave_token"),
    "ack": (settle, "ack"),
    "write acks": (Holdings, "flush_acks"),
    "requeue": (settle, "requeue"),
    "reject": (settle, "reject"),
    "spill": (Holdings, "spill"),
    "make way": (Holdings, "make_way"),
    "drain": (Moving, "drain"),
    "leaves": (consuming, "stop"),
    "retires lane": (lanekeeping, "retire_lane"),
    "recover": (recovery, "recover"),
    "expire": (Due, "settle"),
    "look into lane": (aging, "look"),
    "gather": (Swaths, "gather"),
    "bring home": (Swaths, "bring_home"),
    "inherit": (Swaths, "inherit"),
    "open": (SessionFile, "create"),
    "make store": (Hay, "_build"),
    "close": (recovery, "leave"),
    "flush": (Journal, "flush"),
}

_LANE = ("send", "send_wait", "receive", "receive_into", "seal", "unseal")
_LANES = ("create", "unlink", "unlink_label")
#: Functions that others see something of.
EFFECTS: list[tuple[Any, str]] = [
    *[(kind, name) for kind in (posix.PosixLane, sysv.SysVLane) for name in _LANE],
    *[(kind, name) for kind in (posix.PosixLanes, sysv.SysVLanes) for name in _LANES],
    (Writing, "__exit__"),
    # Between LMDB's commit and the gate page.
    (Writing, "_tell"),
    *[(queue.QueueHandle, name) for name in ("close_gate", "open_gate", "begin_change", "end_change")],
    (landing.Landing, "mark"),
    (landing.Landing, "clear"),
    *[(slab.Slab, name) for name in ("put", "claim", "release", "give_back", "reclaim", "leave")],
    (swath.Swath, "lay"),
    (swath.Swath, "start_anew"),
    (swath, "lying"),
    (Swaths, "_take_over"),
    (swaths, "shut"),
    (Announced, "announce"),
    (Announced, "deny"),
    (hay_sessions, "ring"),
    (os, "mkfifo"),
    (os, "posix_fallocate"),
    (os, "rename"),
    (os, "fdatasync"),
    (os, "pwritev"),
    (Path, "unlink"),
    (os, "pwrite"),
]


class Points:
    """In a process that is to be killed: counts the points it comes to, and ends it at one of them."""

    def __init__(self, at: int | str, record: Path | None = None) -> None:
        """Killed at point number ``at`` (from 1; 0: never), or where the point called ``at`` comes first.

        ``record``: a file for the points' names, each with the steps within which it is.
        """
        self.at = at
        self.count = 0
        self.steps: list[str] = ["run"]
        self.fd = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if record is not None else -1

    def reach(self, what: str) -> None:
        """A point between two effects."""
        self.count += 1
        if self.fd >= 0:
            os.write(self.fd, f"{self.steps[-1]}: {what}|{','.join(self.steps)}\n".encode())
        if self.at in (self.count, f"{self.steps[-1]}: {what}"):
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap all steps and effects. For ever: in a forked process only."""
        for step, (place, name) in STEPS.items():
            _replace(place, name, partial(self.step, step))
        for place, name in EFFECTS:
            _replace(place, name, partial(self.effect, f"{place.__name__}.{name.strip('_')}"))
        # A full lane is looked at once more, not as often as there is time for.
        vars(sysv)["_NAP"] = 0.002
        vars(journal)["reach"] = self.reach

    def step(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """``real``, taken as the step ``name``."""

        def taken(*arguments: Any, **named: Any) -> Any:
            self.steps.append(name)
            try:
                return real(*arguments, **named)
            finally:
                self.steps.pop()

        return taken

    def effect(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """``real``, with a point before and after it."""

        def done(*arguments: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            result = real(*arguments, **named)
            self.reach(f"after {name}")
            return result

        return done


def _replace(place: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    real = place.__dict__[name]
    if isinstance(real, classmethod):
        setattr(place, name, classmethod(wrap(real.__func__)))
        return
    if isinstance(real, staticmethod):
        setattr(place, name, staticmethod(wrap(real.__func__)))
        return
    wrapped = wrap(real)
    setattr(place, name, wrapped)
    if not isinstance(place, type) and place is not os:
        # Others have the function by its own name.
        for module in [module for known, module in sys.modules.items() if known.startswith("haypile.")]:
            for alias, value in list(vars(module).items()):
                if value is real:
                    setattr(module, alias, wrapped)

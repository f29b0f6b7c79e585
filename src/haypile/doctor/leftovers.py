"""What dead processes left in this user's vhosts, and cleaning it.

Owns: finding vhosts below a base directory, what is left over in each, and the cleaning.
Must not know: how it is printed.

Looking removes nothing but half-made stores, as every opening of a vhost does. Cleaning does what the
next connection would do anyway, under the same locks: a dead session's messages go back to their queues,
its lanes and files go. So it is safe beside living connections.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from haypile import targets
from haypile.admin import removal
from haypile.broker.holdings import ROW
from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session
from haypile.broker.vhost import Vhost
from haypile.hay.environment import boot_id, own_rows
from haypile.hay.errors import HayError
from haypile.hay.layout import BOOT_ROW
from haypile.hay.places import check_private, group_of
from haypile.hay.sessions import BODIES, dead_sessions
from haypile.lanes.errors import LaneError


class Nobody:
    """The client of a session that only cleans: nothing is ever told it. See ``broker.ports.Outbox``."""

    def method(self, channel: int, method: Any) -> None:
        """Nothing is asked."""

    def contents(self, channel: int, batch: Any) -> None:
        """Nothing is consumed."""

    def watch(self, fd: int) -> None:
        """No loop turns."""

    unwatch = watch

    def call_at(self, deadline: float | None) -> None:
        """It is over before any timer."""

    def soon(self) -> None:
        """It never sleeps."""


@dataclass
class Findings:
    """One vhost."""

    directory: str
    transport: str
    vhost: str
    #: Why nothing more can be said of it.
    problem: str = ""
    #: The host was rebooted since: what the store held is gone but for its journal.
    other_boot: bool = False
    #: It was being removed: nobody comes to it any more.
    half_removed: bool = False
    living: int = 0
    #: Each with what is known of it: its number, pid and program.
    dead: list[dict[str, Any]] = field(default_factory=list)
    #: Kernel queues that no queue of the vhost has.
    stray_lanes: list[str] = field(default_factory=list)
    #: Half-made stores and session files without a session.
    litter: list[str] = field(default_factory=list)
    #: Bytes put aside for a human: never cleaned.
    aside: int = 0
    fixed: bool = False

    @property
    def leftovers(self) -> bool:
        """Whether ``fix`` has anything to do."""
        return bool(self.other_boot or self.half_removed or self.dead or self.stray_lanes or self.litter)


def look(base: Path) -> list[Findings]:
    """Every vhost below ``base``, and every one whose removal was killed. Raises OSError for ``base`` itself."""
    vhosts = [
        look_at(base, *found)
        for found in targets.found_vhosts(base)
        if any((found.directory / name).is_dir() for name in ("hay", "sessions"))
    ]
    removals = [Findings(str(grave), transport, "", half_removed=True) for transport, grave in removal.graves(base)]
    return vhosts + removals


def look_at(base: Path, transport: str, vhost: str, directory: Path) -> Findings:
    """What is left over in one vhost."""
    found = Findings(str(directory), transport, vhost)
    try:
        check_private(directory, base, group=group_of(base))
        found.litter = sorted(path.name for path in directory.glob(".hay.*"))
        found.aside = len(list((directory / "aside").glob("*")))
        if boot_of(directory) != boot_id():
            found.other_boot = True
            return found
        _look_inside(found, target_of(base, transport, vhost))
    except (HayError, LaneError, OSError, lmdb.Error) as error:
        found.problem = str(error)
    return found


def target_of(base: Path, transport: str, vhost: str) -> VhostTarget:
    """The vhost as connections name it."""
    group = group_of(base)
    # A group's journal is where the members' environment says; cleaning needs none.
    durability = "disk" if group is None or os.environ.get(targets.JOURNAL_VARIABLE) else "host"
    options = targets.LocalOptions(base, durability, group)
    return targets.local_target(targets.LocalURL(transport, vhost, options), vhost)


def boot_of(directory: Path) -> bytes | None:
    """Of which boot the store in ``directory`` is; None when there is none."""
    place = directory / "hay"
    if not place.exists():
        return None
    with lmdb.open(str(place), readonly=True, lock=False, max_dbs=8, create=False) as env:
        return own_rows(env)[BOOT_ROW]


def _look_inside(found: Findings, target: VhostTarget) -> None:
    vhost = Vhost.join(target)
    try:
        vhost.equip()
        hay = vhost.hay
        vhost.topology.sync()
        dead = dead_sessions(hay)
        with hay.read() as reading:
            known = reading.session_ids()
            rows = {number: reading.session(number) for number in dead}
        found.living = len(known) - len(dead)
        found.dead = [{"session": number, **_info(row)} for number, row in rows.items()]
        found.stray_lanes = sorted(vhost.announced.labels() - vhost.lane_labels())
        names = [path.name for path in (target.directory / "sessions").glob("[0-9]*.*")]
        # Bodies outlive their session while there are others.
        numbers = {int(name.partition(".")[0]) for name in names if BODIES not in name or not known}
        # A session is about to be registered, or just went: it is looked at once more.
        with hay.read() as reading:
            gone = sorted(numbers - set(known) - set(reading.session_ids()))
        found.litter += [f"sessions/{number}.*" for number in gone]
    finally:
        vhost.leave()


def _info(row: bytes | None) -> dict[str, Any]:
    try:
        info = json.loads((row or b"")[ROW.size :] or b"{}")
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}


def fix(base: Path, found: Findings) -> None:
    """Clean one vhost; ``found.problem`` says what stood in the way."""
    try:
        if found.half_removed:
            removal.bury(Path(found.directory), found.transport, group_of(base))
            found.fixed = True
            return
        target = target_of(base, found.transport, found.vhost)
        # Opening a store of another boot puts it aside, and opening once more removes it.
        for _ in range(2):
            Session.open(target, Nobody(), counted=False, info={"command": "doctor"}).close()
        found.fixed = True
    except (HayError, LaneError, OSError) as error:
        found.problem = str(error)

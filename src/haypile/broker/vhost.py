"""A vhost as this process sees it: the store, the topology and the lanes, shared by its sessions.

Owns: one ``Hay``, one ``Topology`` and one lane factory for each vhost directory a process uses,
counted by the sessions that use them.
Must not know: channels, pika, wires.

Invariant: sessions of one process that name the same directory share one ``Vhost``; the last
session to leave closes it. A forked child starts with none (its parent's are the parent's).
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from haypile.broker.asking import Asking
from haypile.broker.ports import VhostTarget
from haypile.hay.announced import Announced
from haypile.hay.clock import Clock
from haypile.hay.errors import OutOfRoom
from haypile.hay.locking import was_removed
from haypile.hay.places import is_begun, make_private
from haypile.hay.sessions import ring
from haypile.hay.store import Hay
from haypile.lanes.errors import LaneError
from haypile.lanes.support import check_support

if TYPE_CHECKING:
    from haypile.broker.topology import Topology
    from haypile.hay.journal import Journal
    from haypile.lanes.lane import Lane, Lanes

LOGGER = logging.getLogger("haypile")


def absent(transport: str, error: ImportError) -> LaneError:
    """There are no kernel queues called ``transport`` here: only those that are used must be there."""
    other = "posix" if transport == "sysv" else "sysv"
    return LaneError(
        f"{transport}:/// needs message queues that are not to be had here ({error}); install "
        f"{transport}_ipc, or use {other}:///"
    )


def check_transport(transport: str) -> None:
    """Raise ``LaneError`` where there are no kernel queues called ``transport``."""
    try:
        check_support(transport)
    except ImportError as error:
        raise absent(transport, error) from error


def lanes_of(transport: str, group: int | None = None) -> Lanes:
    """The kernel queues called ``transport``, shared with ``group``. Raises ``LaneError``."""
    try:
        if transport == "sysv":
            from haypile.lanes.sysv import SysVLanes  # noqa: PLC0415 - sysv_ipc may be absent

            return SysVLanes(group)
        from haypile.lanes.posix import PosixLanes  # noqa: PLC0415 - posix_ipc may be absent

        return PosixLanes(group)
    except ImportError as error:
        raise absent(transport, error) from error


class Vhost:
    """The shared parts of a vhost; get one by ``Vhost.join``, give it back by ``leave``."""

    _open: dict[str, Vhost] = {}
    #: Held for a moment only.
    _lock = threading.Lock()
    #: Held while one is made or equipped, which takes as long as opening its store and importing modules do.
    _making = threading.Lock()

    topology: Topology
    lanes: Lanes

    def __init__(self, target: VhostTarget) -> None:
        self.target = target
        self.name = target.vhost
        check_transport(target.transport)
        if target.base is not None:
            # Whoever owns a directory above ours may put another one in its place.
            make_private(target.base, group=target.group)
        self.hay = Hay.open(target.directory, revive=self.revived)
        self.clock = Clock(self.hay.now)
        self.announced = Announced(target.directory / "lanes")
        self.asking = Asking()
        self.users = 0
        self.equipped = False

    def equip(self) -> None:
        """Have what sessions need that use a queue: topology, lanes, journal. Idempotent.

        Its modules are two thirds of the broker's memory, of no use to a connection that waits (``idle``).
        """
        if self.equipped:
            return
        with self._making:
            if self.equipped:
                return
            from haypile.broker.topology import Topology  # noqa: PLC0415 - see above

            self.lanes = lanes_of(self.target.transport, self.target.group)
            self.topology = Topology(self.hay, self.name)
            with self.hay.lock:
                self.hay.journal = self.hay.journal or self.journal()
            self.equipped = True

    def journal(self) -> Journal | None:
        """The vhost's journal, if it is to have one."""
        target = self.target
        if target.journal is None:
            return None
        from haypile.broker.revival import revive  # noqa: PLC0415 - see ``equip``
        from haypile.broker.rows import is_durable  # noqa: PLC0415
        from haypile.hay.forking import JOURNALS  # noqa: PLC0415
        from haypile.hay.journal import Journal  # noqa: PLC0415

        place, base, group = target.journal, target.journal_base, target.group
        return JOURNALS.at(place, lambda: Journal(place, is_durable, revive, base, group))

    def revived(self) -> Journal | None:
        """The journal that a new store is to be filled from, if there is anything in it."""
        place = self.target.journal
        return self.journal() if place is not None and is_begun(place) else None

    @classmethod
    def join(cls, target: VhostTarget) -> Vhost:
        """The vhost at ``target``, made if need be.

        Raises ``hay.errors.UnusableDirectory`` when its directory cannot be used safely.
        """
        known = cls._rejoin(target)
        if known is not None:
            return known
        with cls._making:
            # Another thread was faster, perhaps.
            known = cls._rejoin(target)
            if known is None:
                known = cls(target)
                known.users = 1
                with cls._lock:
                    cls._open[str(target.directory)] = known
            return known

    @classmethod
    def _rejoin(cls, target: VhostTarget) -> Vhost | None:
        with cls._lock:
            vhost = cls._open.get(str(target.directory))
            if vhost is None or was_removed(vhost.hay):
                return None
            vhost.users += 1
            return vhost

    def leave(self) -> None:
        """Undo one ``join``."""
        with self._lock:
            self.users -= 1
            if self.users:
                return
            if self._open.get(str(self.target.directory)) is self:
                del self._open[str(self.target.directory)]
        self.hay.close()

    def remove_lanes(self) -> None:
        """After the vhost's files were deleted: nobody else knows of its kernel queues any more."""
        if was_removed(self.hay):
            for queue in list(self.topology.by_id.values()):
                if queue.lane is not None:
                    self.lanes.unlink(queue.lane.name)

    def open_lane(self, name: str) -> Lane | None:
        """The lane called ``name``, or None when it is gone."""
        return self.lanes.open(name)

    def make_lane(self, prefix: str, least: tuple[int, int] | None = None) -> Lane | None:
        """A new lane, sized by what room the vhost's other lanes leave. Under the write lock.

        ``least``: messages, and their bytes, that it must have. Then nothing is said where there is no room.
        """
        known = [queue.lane for queue in self.topology.by_id.values() if queue.lane is not None]
        room = self.lanes.room((lane.maxmsg, lane.msgsize) for lane in known)
        room = room._replace(least=least)
        if least and not any(room.sizes()):
            return None
        labels: list[str] = []

        def announce(label: str) -> None:
            labels.append(label)
            self.announced.announce(label)

        lane = None
        try:
            lane = self.lanes.create(prefix, room, announce)
        except OutOfRoom as error:
            if least is None and not self.asking.vain:
                LOGGER.warning(
                    "vhost %r: no kernel queue for another AMQP queue: %s; it works through shared memory, more slowly",
                    self.name,
                    str(error),
                )
        if lane is None:
            for label in labels:
                self.announced.deny(label)
        return lane

    def unlink_lane(self, name: str) -> None:
        """Remove the lane called ``name``, of which no row tells any more."""
        if self.lanes.unlink(name):
            self.announced.deny(self.lanes.label(name))

    def stray_lanes(self) -> bool:
        """Whether there may be lanes that no queue has: somebody was killed at the wrong moment."""
        labels = self.announced.labels()
        return bool(labels) and not labels <= self.lane_labels()

    def sweep_lanes(self) -> None:
        """Remove lanes that no queue has. Under the write lock, the topology synced."""
        self.announced.sweep(self.lane_labels(), self.lanes.unlink_label)

    def lane_labels(self) -> set[str]:
        """Labels of the lanes that queues have (``Lanes.label``)."""
        label = self.lanes.label
        return {label(queue.lane.name) for queue in list(self.topology.by_id.values()) if queue.lane is not None}

    def ring_all(self, but: int) -> None:
        """Have every other session look around."""
        with self.hay.read() as reading:
            sessions = reading.session_ids()
        for session in sessions:
            if session != but:
                ring(self.hay, session)

    @classmethod
    def forget(cls) -> None:
        """In a forked child: the parent's vhosts are not ours."""
        cls._open = {}
        cls._lock = threading.Lock()
        cls._making = threading.Lock()


os.register_at_fork(after_in_child=Vhost.forget)

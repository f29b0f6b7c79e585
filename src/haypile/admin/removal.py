"""Vhosts as a whole: which there are, who uses them, and their removal.

Owns: finding the vhosts below a state directory, and removing one with its kernel queues and its journal.
Must not know: what is in a vhost.

Removal renames the directory first: whoever connects from then on makes a new vhost. The lanes are
known by their announcements (``hay.announced``), whoever was killed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from haypile.broker.ports import VhostTarget
from haypile.broker.vhost import lanes_of
from haypile.hay.announced import Announced
from haypile.targets import KERNEL, Found, found_vhosts

_FLOCK = struct.Struct("@hhqqi")
_ASK = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_UNLOCKED = struct.pack("@h", fcntl.F_UNLCK)
#: How the directory of a vhost is called that is being removed; no vhost's name begins so (``targets.encoded``).
_GRAVE = ".removed-"


class InUse(Exception):
    """The vhost has connections."""


def vhosts(base: Path) -> Iterator[Found]:
    """The vhosts below ``base`` that have a store, by transport and name."""
    return (found for found in found_vhosts(base) if (found.directory / "hay" / "data.mdb").exists())


def connections(directory: Path) -> int:
    """How many connections the vhost in ``directory`` has. Not for a vhost this process is connected to:
    looking at a lock of one's own drops it."""
    count = 0
    for path in (directory / "sessions").glob("*.lock"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            count += fcntl.fcntl(fd, fcntl.F_GETLK, _ASK)[:2] != _UNLOCKED
        finally:
            os.close(fd)
    return count


def remove(target: VhostTarget, *, force: bool = False) -> int:
    """Remove the vhost at ``target``, its messages, kernel queues and journal; how many kernel queues.

    ``force``: whoever is connected loses the connection at its next operation (needed for a vhost this
    process is connected to). Raises ``InUse``.
    """
    directory = target.directory
    if not force and (count := connections(directory)):
        raise InUse(f"vhost {target.vhost!r} has {count} connection{'s' * (count > 1)}; close them, or use --force")
    top = directory.parent
    while top.name.endswith("~"):  # a long name (``targets.encoded``)
        top = top.parent
    grave = top / f"{_GRAVE}{secrets.token_hex(8)}"
    try:
        os.rename(directory, grave)
    except FileNotFoundError:
        grave = directory
    count = bury(grave, target.transport, target.group)
    if target.journal is not None:
        shutil.rmtree(target.journal, ignore_errors=True)
    # Removals that were killed here before: a second attempt at one finds no directory of its name.
    for transport, abandoned in graves(top.parent):
        if transport == target.transport:
            bury(abandoned, transport, target.group)
    return count


def graves(base: Path) -> list[tuple[str, Path]]:
    """(transport, directory) of vhosts below ``base`` whose removal is under way, or was killed: see ``bury``."""
    return [(transport, found) for transport in KERNEL for found in sorted((base / transport).glob(f"{_GRAVE}*"))]


def bury(grave: Path, transport: str, group: int | None) -> int:
    """Remove the kernel queues of the vhost that was renamed ``grave``, and the directory; how many queues.

    Others may do so at the same time. Raises ``LaneError`` without the package for such queues.
    """
    lanes = lanes_of(transport, group)
    # What is announced while the directory is on its way out is found the second time.
    labels: set[str] = set()
    for _ in range(2):
        fresh = Announced(grave / "lanes").labels() - labels
        labels |= {label for label in fresh if lanes.unlink_label(label)}
    shutil.rmtree(grave, ignore_errors=True)
    return len(labels)

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
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from haypile.broker.ports import VhostTarget
from haypile.broker.vhost import lanes_of
from haypile.hay.announced import Announced

_FLOCK = struct.Struct("@hhqqi")
_ASK = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_UNLOCKED = struct.pack("@h", fcntl.F_UNLCK)


class InUse(Exception):
    """The vhost has connections."""


@dataclass(frozen=True)
class Found:
    """A vhost of a state directory."""

    transport: str
    name: str
    directory: Path


def vhosts(base: Path) -> Iterator[Found]:
    """The vhosts below ``base``, by transport and name."""
    for transport in ("posix", "sysv"):
        top = base / transport
        for store in sorted(top.glob("**/hay")) if top.is_dir() else ():
            encoded = str(store.parent.relative_to(top)).replace("~/", "")
            if "/" not in encoded and (store / "data.mdb").exists():
                name = "" if encoded == "%" else unquote(encoded)
                yield Found(transport, name, store.parent)


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
    grave = directory.with_name(f".removed-{secrets.token_hex(8)}")
    try:
        os.rename(directory, grave)
    except FileNotFoundError:
        grave = directory
    lanes = lanes_of(target.transport, target.group)
    # What is announced while the directory is on its way out is found the second time.
    labels: set[str] = set()
    for _ in range(2):
        fresh = Announced(grave / "lanes").labels() - labels
        labels |= {label for label in fresh if lanes.unlink_label(label)}
    shutil.rmtree(grave, ignore_errors=True)
    if target.journal is not None:
        shutil.rmtree(target.journal, ignore_errors=True)
    return len(labels)

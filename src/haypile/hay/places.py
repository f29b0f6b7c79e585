"""Directories that are ours alone.

Owns: the check that a state directory is safe to use, its making, and files put aside for a human.
Must not know: what lies in it.

A directory that exists is used only if it is ours, is no symlink and is closed to others.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from urllib.parse import quote

from haypile.hay.errors import LIMITS, OutOfRoom, UnusableDirectory, explain

#: Environment variable that names the directory of the vhosts.
VARIABLE = "HAYPILE_DIR"


def check_private(path: Path, base: Path | None = None, variable: str = VARIABLE) -> os.stat_result:
    """Refuse ``path`` unless it is a directory of ours, mode 0700, no symlink.

    With ``base``, an ancestor of it, the same goes for every directory from ``base`` down.
    ``variable``: what says where such directories are.
    Returns the state of ``path``. Raises ``UnusableDirectory``: it names the path and says what to do.
    """
    if base is not None and path != base:
        if base not in path.parents:
            raise ValueError(f"{path} does not lie in {base}")
        check_private(path.parent, base, variable)
    try:
        state = os.lstat(path)
    except OSError as error:
        raise UnusableDirectory(f"cannot use {path}: {error.strerror}") from error
    if stat.S_ISLNK(state.st_mode):
        raise UnusableDirectory(f"{path} is a symbolic link; remove it, or set {variable} to a directory")
    if not stat.S_ISDIR(state.st_mode):
        raise UnusableDirectory(f"{path} is not a directory; remove it, or set {variable} to a directory")
    if state.st_uid != os.geteuid():
        raise UnusableDirectory(
            f"{path} belongs to user {state.st_uid}, not to user {os.geteuid()}; "
            f"remove it, or set {variable} to a directory of your own"
        )
    if state.st_mode & 0o077:
        raise UnusableDirectory(
            f"{path} is open to other users (mode {stat.S_IMODE(state.st_mode):04o}); "
            f"check what is in it, then: chmod 700 {path}"
        )
    return state


def make_private(path: Path, variable: str = VARIABLE) -> None:
    """Make ``path`` and what is missing above it, mode 0700, unless it exists.

    ``variable``: what says where such directories are. Raises ``UnusableDirectory`` when it cannot be
    made or what exists is not ours alone, ``OutOfRoom`` when a limit is reached.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        check_private(path, variable=variable)
    except FileNotFoundError:
        make_private(path.parent, variable)
        make_private(path, variable)
    except OSError as error:
        if error.errno in LIMITS:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error
        raise UnusableDirectory(
            f"cannot make {path}: {error.strerror}; set {variable} to a directory you may write to"
        ) from error


def write_aside(directory: Path, name: str, content: bytes) -> Path:
    """Write ``content`` to a new file in ``directory``, its name random after ``name``.

    Raises ``OutOfRoom`` when there is no room for it.
    """
    make_private(directory)
    path = directory / f"{quote(name, safe='')[:100]}-{secrets.token_hex(8)}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as file:
            file.write(content)
    except OSError as error:
        raise OutOfRoom(f"cannot put {len(content)} bytes aside in {directory}: {error.strerror}") from error
    return path

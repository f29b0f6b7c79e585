"""Directories that are ours alone, or shared with a group because somebody said so.

Owns: the check that a state directory is safe to use, its making, the modes of files in it, and files put aside
for a human.
Must not know: what lies in it.

A directory that exists is used only if it is ours, is no symlink and is closed to others. Where a group is named,
it must be that group's, open to its members (mode 2770) and closed to others; whose it is does not matter, since
only a member or root can have made it so. What lies in a directory is shared as the directory is: so
nothing but the topmost directory needs to be told.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from haypile.hay.errors import LIMITS, OutOfRoom, UnusableDirectory, explain

#: Environment variable that names the directory of the vhosts.
VARIABLE = "HAYPILE_DIR"

#: For a ``group``: the one that shares the directory above, if one does.
AS_ABOVE = -1
#: Bits of a shared directory's mode; its own mode, and that of a file in it.
_SHARED, _SHARED_DIRECTORY, _SHARED_FILE = stat.S_ISGID | 0o070, 0o2770, 0o660
#: Seconds in which another process that just made a shared directory or file opens it to the group.
MOMENT = 0.5


def group_of(directory: Path) -> int | None:
    """The group that shares ``directory``; None: it is no group's."""
    try:
        state = os.stat(directory)
    except OSError:
        return None
    return state.st_gid if state.st_mode & _SHARED == _SHARED else None


def file_mode(directory: Path) -> int:
    """The mode of a new file in ``directory``."""
    return 0o600 if group_of(directory) is None else _SHARED_FILE


def share(fd: int, directory: Path) -> None:
    """Give the file ``fd``, just made in ``directory`` with mode 0600, the mode it is to have."""
    if file_mode(directory) == _SHARED_FILE:
        state = os.fstat(fd)
        if state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) != _SHARED_FILE:
            os.fchmod(fd, _SHARED_FILE)


def check_private(
    path: Path, base: Path | None = None, variable: str = VARIABLE, group: int | None = AS_ABOVE
) -> os.stat_result:
    """Refuse ``path`` unless it is a directory of ours, mode 0700, no symlink; or ``group``'s, mode 2770.

    With ``base``, an ancestor of it, the same goes for every directory from ``base`` down.
    ``variable``: what says where such directories are.
    Returns the state of ``path``. Raises ``UnusableDirectory``: it names the path and says what to do.
    """
    if base is not None and path != base:
        if base not in path.parents:
            raise ValueError(f"{path} does not lie in {base}")
        check_private(path.parent, base, variable, group)
        group = AS_ABOVE
    try:
        state = os.lstat(path)
    except OSError as error:
        raise UnusableDirectory(f"cannot use {path}: {error.strerror}") from error
    if stat.S_ISLNK(state.st_mode):
        raise UnusableDirectory(f"{path} is a symbolic link; remove it, or set {variable} to a directory")
    if not stat.S_ISDIR(state.st_mode):
        raise UnusableDirectory(f"{path} is not a directory; remove it, or set {variable} to a directory")
    if group == AS_ABOVE:
        group = group_of(path.parent)
    if group is None:
        _check_own(path, state, variable)
    else:
        _check_shared(path, state, group)
    return state


def _check_own(path: Path, state: os.stat_result, variable: str) -> None:
    if state.st_uid != os.geteuid():
        raise UnusableDirectory(
            f"{path} belongs to user {state.st_uid}, not to user {os.geteuid()}; "
            f"remove it, or set {variable} to a directory of your own"
        )
    if state.st_mode & _SHARED == _SHARED and not state.st_mode & 0o007:
        raise UnusableDirectory(
            f"{path} is shared with group {state.st_gid}; add group={state.st_gid} to the URL, "
            f"or set {variable} to another directory"
        )
    if state.st_mode & 0o077:
        raise UnusableDirectory(
            f"{path} is open to other users (mode {stat.S_IMODE(state.st_mode):04o}); "
            f"check what is in it, then: chmod 700 {path}"
        )


def _check_shared(path: Path, state: os.stat_result, group: int) -> None:
    mode = stat.S_IMODE(state.st_mode)
    if state.st_gid != group or mode != _SHARED_DIRECTORY:
        raise UnusableDirectory(
            f"{path} is not shared with group {group}: it has group {state.st_gid} and mode {mode:04o}; check what is "
            f"in it, then: chgrp {group} {path}; chmod 2770 {path}; or name another directory in the URL (dir=)"
        )


def make_private(
    path: Path, variable: str = VARIABLE, group: int | None = AS_ABOVE, *, refused: bool = False
) -> None:
    """Make ``path`` and what is missing above it, mode 0700, unless it exists; shared with ``group``, mode 2770.

    ``variable``: what says where such directories are. ``refused``: it is tried again. Raises ``UnusableDirectory``
    when it cannot be made or what exists is not ours alone, ``OutOfRoom`` when a limit is reached.
    """
    try:
        make_new(path, group)
    except FileExistsError:
        _check_soon(path, variable, group)
    except FileNotFoundError:
        make_private(path.parent, variable)
        make_private(path, variable, group)
    except OSError as error:
        shared = group == AS_ABOVE and group_of(path.parent.parent) is not None
        if error.errno == errno.EACCES and shared and not refused:
            # Another member makes what is above just now, or has by now; else this says what to do.
            _check_soon(path.parent, variable, group)
            make_private(path, variable, group, refused=True)
            return
        if error.errno in LIMITS:
            raise OutOfRoom(f"cannot make {path}: {explain(error, path)}") from error
        raise UnusableDirectory(
            f"cannot make {path}: {error.strerror}; set {variable} to a directory you may write to"
        ) from error


def make_new(path: Path, group: int | None = AS_ABOVE) -> None:
    """Make the directory ``path``. Raises ``OSError``."""
    os.mkdir(path, 0o700)
    if group == AS_ABOVE:
        group = group_of(path.parent)
    if group is not None:
        os.chown(path, -1, group)
        os.chmod(path, _SHARED_DIRECTORY)


def _check_soon(path: Path, variable: str, group: int | None) -> None:
    """``check_private``; where it is to be shared, whoever makes it just now gets a moment."""
    shared = group is not None and (group != AS_ABOVE or group_of(path.parent) is not None)
    deadline = time.monotonic() + MOMENT
    while True:
        try:
            check_private(path, variable=variable, group=group)
            return
        except UnusableDirectory:
            if not shared or time.monotonic() > deadline or os.lstat(path).st_mode & 0o077:
                raise
        time.sleep(0.01)


def write_aside(directory: Path, name: str, content: bytes) -> Path:
    """Write ``content`` to a new file in ``directory``, its name random after ``name``.

    Raises ``OutOfRoom`` when there is no room for it.
    """
    make_private(directory)
    path = directory / f"{quote(name, safe='')[:100]}-{random_name()}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        share(fd, directory)
        with open(fd, "wb", buffering=0) as file:
            file.write(content)
    except OSError as error:
        raise OutOfRoom(f"cannot put {len(content)} bytes aside in {directory}: {error.strerror}") from error
    return path


def remove_tree(path: Path) -> None:
    """Remove ``path`` and what is in it, as far as that goes."""
    # Not shutil, which imports half a megabyte of compressors: the first connection to a vhost comes by here.
    for directory, inner, files in os.walk(path, topdown=False):
        for name in (*files, *inner):
            found = os.path.join(directory, name)
            # A link to a directory stands among the directories.
            _try(os.rmdir if name in inner and not os.path.islink(found) else os.unlink, found)
    _try(os.rmdir, path)


def _try(remove: Callable[[str | Path], None], path: str | Path) -> None:
    with suppress(OSError):
        remove(path)


def is_begun(journal: Path) -> bool:
    """Whether there is anything in the directory of a journal."""
    return (journal / "base").exists()


def random_bytes(number: int) -> bytes:
    """Of the system; not by ``secrets``, which imports what only cryptography needs."""
    return os.urandom(number)


def random_name() -> str:
    """A name that nobody has."""
    return random_bytes(8).hex()

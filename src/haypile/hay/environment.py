"""One LMDB environment: how it is made, opened, and what its errors mean.

Owns: LMDB's settings and the files it needs.
Must not know: transactions' contents, processes, who holds which lock (``store`` sees to that).

Why it is done this way (each was measured):

* A kill while an environment is made leaves it unopenable for ever, so ``build`` makes it in a
  directory of its own, which the caller renames when it is whole.
* No ``writemap``: it dies by SIGBUS on a full tmpfs. The map is huge, the real space is what counts.
* LMDB maps its lock file without having blocks for it: SIGBUS again, unless they are there before.
* ``sync`` off: on tmpfs there is nothing to sync; elsewhere the store does not outlive the boot.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lmdb

from haypile.hay.errors import UnusableDirectory
from haypile.hay.gates import USED_ROW, Gates
from haypile.hay.layout import BOOT_ROW, NONCE_ROW, OFFSET_ROW, VERSION_ROW
from haypile.hay.places import check_private, file_mode, make_new, share
from haypile.hay.room import keep_back

#: Address space for the data, bytes. Only what is used costs anything.
MAP_SIZE = 1 << 38
#: Where the kernel gives less address space (RLIMIT_AS), halve down to this.
MAP_SIZE_LEAST = 1 << 26
#: Processes (and threads reading at the same time) per vhost; 64 bytes each.
MAX_READERS = 1024
#: Free bytes below which a write that was cut short means that there is no room.
LITTLE_ROOM = 1 << 20

#: Named trees.
TREES = (b"rows", b"log", b"body")
_OWN_ROWS = (NONCE_ROW, BOOT_ROW, OFFSET_ROW, VERSION_ROW, USED_ROW)


def build(place: Path) -> None:
    """Make a new store in the new directory ``place``.

    Raises ``lmdb.Error``, ``OSError`` or ``OutOfRoom`` when there is no room.
    """
    make_new(place)
    nonce = b"\0" * 8
    while 0 in nonce:
        nonce = os.urandom(8)
    offset = time.time_ns() - time.monotonic_ns()
    _reserve(place / "lock.mdb")
    env = _open(place, create=True)
    try:
        os.chmod(place / "data.mdb", file_mode(place))
        for name in TREES:
            env.open_db(name)
        with env.begin(write=True) as txn:
            txn.put(NONCE_ROW, nonce)
            txn.put(BOOT_ROW, boot_id())
            txn.put(OFFSET_ROW, offset.to_bytes(8, "big", signed=True))
    finally:
        env.close()
    Gates(place / "gates", nonce, 0, 0).close()
    keep_back(place)


def open_environment(place: Path) -> Any:
    """The environment in ``place``. Under the file lock.

    Raises ``UnusableDirectory`` when it cannot be opened.
    """
    check_private(place)
    try:
        env = _open(place, create=False)
    except lmdb.LockError as error:
        raise UnusableDirectory(
            f"cannot share the store in {place} with a process of the same number in another "
            f"container ({error}); run both with one PID namespace, or give each its own directory"
        ) from error
    except lmdb.Error as error:
        raise UnusableDirectory(
            f"cannot open the store in {place}: {error}; if nothing uses it, remove that directory"
        ) from error
    env.reader_check()
    return env


def own_rows(env: Any) -> dict[bytes, bytes | None]:
    """The store's own small rows: NONCE, BOOT, OFFSET, VERSION and gates.USED.

    Reading them takes this process's reader slot, which it keeps.
    """
    txn = env.begin()
    try:
        return {key: txn.get(key) for key in _OWN_ROWS}
    finally:
        txn.abort()


def means_no_room(error: lmdb.Error, free: int) -> bool:
    """Whether ``error`` says that memory or disk space is gone; ``free``: bytes there are."""
    text = str(error)
    return (
        isinstance(error, (lmdb.MapFullError, lmdb.DiskError))
        or "No space left" in text
        or "quota" in text
        # LMDB's word for a write that was cut short.
        or ("Input/output error" in text and free < LITTLE_ROOM)
    )


def boot_id() -> bytes:
    """What tells this boot of the machine from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


def _open(place: Path, *, create: bool) -> Any:
    size = MAP_SIZE
    while True:
        try:
            return lmdb.open(
                os.fspath(place),
                map_size=size,
                create=create,
                mode=0o600,
                sync=False,
                metasync=False,
                writemap=False,
                max_dbs=len(TREES),
                max_readers=MAX_READERS,
                max_spare_txns=1,
            )
        except (lmdb.MemoryError, MemoryError):
            if size <= MAP_SIZE_LEAST:
                raise
            size //= 2


def _reserve(path: Path) -> None:
    """Real blocks for LMDB's lock file, before anybody has the environment open.

    Later it must not be touched: closing it drops the locks of its owner. LMDB takes the number of
    readers from the size it finds.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        share(fd, path.parent)
        os.posix_fallocate(fd, 0, 64 * MAX_READERS)
    finally:
        os.close(fd)


# -- after a fork -----------------------------------------------------------------------------

#: Environments of the parent that cannot be closed here without harm to it.
_left_open: list[Any] = []


def close_inherited(env: Any, place: Path) -> None:
    """Close what a forked child has of its parent's environment, while transactions are open there.

    Closing gives back the transactions, and with them their slots in the table of readers, which both processes have
    mapped: the parent's pages would be used again while it reads them. So the child gets a table of its own before.
    """
    if _part_with(place / "lock.mdb"):
        env.close()
    else:
        _left_open.append(env)


def _part_with(path: Path) -> bool:
    """Put a private copy in place of what is mapped of the file at ``path``; False: where is not to be found."""
    import ctypes  # noqa: PLC0415 - seldom needed
    import mmap  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    fixed = 0x10  # MAP_FIXED (mmap(2)), which Python does not name
    found = False
    try:
        number, name = os.stat(path).st_ino, os.path.realpath(path)
        mappings = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return False
    for line in mappings:
        span, _, _, _, inode, *names = line.split(None, 5)
        if int(inode) != number or names != [name]:
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        size = end - start
        content = ctypes.string_at(start, size)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | fixed
        if libc.mmap(start, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != start:
            return False
        ctypes.memmove(start, content, size)
        found = True
    return found

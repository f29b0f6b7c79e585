"""A small process that outlives a test run and removes what the run left, however the run ended.

Owns: the list of vhosts that are alive, told line by line on its standard input; noticing the owner's end by
the end of that pipe or by a pidfd (forked children may hold the pipe); the removal.
Must not know: pytest, what vhosts are.

Lines: ``+ URL`` a vhost was made, ``- URL`` it was removed, ``bye`` nothing is left. Started as a script with the
owner's pid, the directory of the run and the API's address (or nothing), so that starting it imports nothing of
haypile: only a keeper that has something to remove does.
"""

from __future__ import annotations

import os
import select
import shutil
import sys

#: Seconds between looks for the owner where there is no pidfd.
LOOK = 1.0


def watch(owner: int) -> list[str]:
    """Wait for the owner's end; the vhosts that are left."""
    try:
        pidfd = os.pidfd_open(owner)
    except (AttributeError, OSError):
        pidfd = -1
    os.set_blocking(0, False)
    text, alive = b"", True
    while alive:
        ready = select.select([0] if pidfd < 0 else [0, pidfd], [], [], LOOK if pidfd < 0 else None)[0]
        alive = pidfd not in ready and os.getppid() == owner
        while True:
            try:
                part = os.read(0, 65536)
            except BlockingIOError:
                break
            text += part
            if not part:
                alive = False
                break
        if text.endswith(b"bye\n"):
            return []
    left: dict[str, None] = {}
    for line in text.decode().splitlines():
        sign, _, url = line.partition(" ")
        if sign == "+":
            left[url] = None
        elif sign == "-":
            left.pop(url, None)
    return list(left)


def main() -> None:
    """The process."""
    owner, directory, api = int(sys.argv[1]), sys.argv[2], sys.argv[3] or None
    left = watch(owner)
    if left:
        from haypile.testing.vhosts import remove_url  # noqa: PLC0415 - only a keeper with work to do

        for url in left:
            try:
                remove_url(url, api)
            except Exception as error:
                print(f"haypile: cannot remove {url}: {error}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

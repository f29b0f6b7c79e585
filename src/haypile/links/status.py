"""What is kept of links in a vhost's state directory: how they are doing, who runs them, which were declared.

Owns: the files below ``links/`` there. No URL and no password is ever in them.
Must not know: connections.

For each link NAME: ``NAME.json`` (its status, replaced whole), ``NAME.lock`` (locked by the process that runs it)
and, for one that a binding made, ``NAME.plan``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from haypile.links.plan import InvalidPlan, Plan, from_json, to_json


def _place(vhost: Path) -> Path:
    """Where the files of the vhost in directory ``vhost`` are. Who only looks does not bring back what was removed."""
    return vhost / "links"


def folder(vhost: Path) -> Path:
    """The same, made if need be."""
    path = _place(vhost)
    # A link may be the vhost's first user: what mkdir makes on the way is open to others, and then refused.
    for one in (*reversed(path.parents), path):
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
    return path


def _path(vhost: Path, name: str, what: str) -> Path:
    folder(vhost)
    return _find(vhost, name, what)


def _find(vhost: Path, name: str, what: str) -> Path:
    return _place(vhost) / f"{quote(name, safe='')}.{what}"


def _replace(path: Path, value: Any) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    unfinished.write_text(json.dumps(value))
    unfinished.rename(path)


def write(vhost: Path, name: str, status: dict[str, Any]) -> None:
    """Replace the status of link ``name``. Raises OSError."""
    _replace(_path(vhost, name, "json"), status)


def erase(vhost: Path, name: str) -> None:
    """The link is gone for good, and its status with it."""
    _find(vhost, name, "json").unlink(missing_ok=True)


def read_all(vhost: Path) -> dict[str, dict[str, Any]]:
    """The last status of every link that ever ran, by name; ``running`` says whether somebody runs it now."""
    found = {}
    for path in sorted(_place(vhost).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = json.loads(path.read_text())
            found[status["name"]] = {**status, "running": _is_locked(path.with_suffix(".lock"))}
    return found


# -- declared links ---------------------------------------------------------------------------


@contextlib.contextmanager
def _changing(vhost: Path) -> Iterator[None]:
    """One process and thread at a time. Raises OSError."""
    with _mutex, (folder(vhost) / "changes.lock").open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def declare(vhost: Path, plan: Plan) -> None:
    """Keep ``plan``, with the bindings it had: whoever runs the links of this vhost runs it too. Raises OSError."""
    with _changing(vhost):
        known = _declared(_path(vhost, plan.name, "plan"))
        before = known.bindings if known is not None else ()
        bindings = tuple(dict.fromkeys((*before, *plan.bindings)))
        _replace(_path(vhost, plan.name, "plan"), to_json(replace(plan, bindings=bindings)))


def unbind(vhost: Path, name: str, binding: str) -> None:
    """One of the bindings that made link ``name`` is gone; with the last the link ends. Raises OSError."""
    with _changing(vhost):
        plan = _declared(_path(vhost, name, "plan"))
        if plan is not None and binding in plan.bindings:
            left = tuple(one for one in plan.bindings if one != binding)
            _replace(_path(vhost, name, "plan"), to_json(replace(plan, bindings=left, ending=not left)))


def _declared(path: Path) -> Plan | None:
    with contextlib.suppress(OSError, ValueError, InvalidPlan):
        return from_json(json.loads(path.read_text()))
    return None


def forget(vhost: Path, name: str) -> bool:
    """Undo ``declare``; whether there was one."""
    try:
        _find(vhost, name, "plan").unlink()
    except FileNotFoundError:
        return False
    return True


def declared(vhost: Path) -> list[Plan]:
    """The declared links."""
    found = map(_declared, sorted(_place(vhost).glob("*.plan")))
    return [plan for plan in found if plan is not None]


# -- who runs it ------------------------------------------------------------------------------

_mutex = threading.Lock()
#: Locks of this process: fcntl's would not keep two threads of it apart.
_held: dict[str, int] = {}


def lock(vhost: Path, name: str) -> bool:
    """Become the one who runs link ``name``; False while another one does."""
    path = str(_path(vhost, name, "lock"))
    with _mutex:
        if path in _held:
            return False
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        _held[path] = fd
        return True


def unlock(vhost: Path, name: str) -> None:
    """Let others run it."""
    with _mutex:
        fd = _held.pop(str(_find(vhost, name, "lock")), None)
        if fd is not None:
            os.close(fd)


def _is_locked(path: Path) -> bool:
    with _mutex:
        if str(path) in _held:
            return True
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False


def _after_fork() -> None:
    global _mutex
    _mutex = threading.Lock()
    # The parent's locks are not the child's.
    for fd in _held.values():
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)

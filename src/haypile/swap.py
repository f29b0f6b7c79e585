"""Putting haypile in the place of pika, for programs that say ``import pika`` and must not be touched.

Owns: which names of pika are replaced and put back, and starting a program with them replaced,
its child processes included.
Must not know: where connections go.

``haypile run`` starts the program in a fresh interpreter whose environment makes Python load
``site/sitecustomize.py`` first; that waits for the first import of pika and calls ``install``.
So ``sys.argv``, tracebacks and exit codes are Python's own, and every child process that inherits the
environment is covered.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pika
import pika.adapters
import pika.adapters.blocking_connection
import pika.adapters.select_connection
import pika.connection

from haypile.fronts.blocking import BlockingConnection
from haypile.fronts.select import SelectConnection
from haypile.parameters import URLParameters
from haypile.targets import URL_VARIABLE

#: Where the program's own ``sitecustomize`` is stood in for.
SITE = Path(__file__).parent / "site"
RUN_VARIABLE = "HAYPILE_RUN"

_REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (pika, "BlockingConnection", BlockingConnection),
    (pika.adapters, "BlockingConnection", BlockingConnection),
    (pika.adapters.blocking_connection, "BlockingConnection", BlockingConnection),
    (pika, "SelectConnection", SelectConnection),
    (pika.adapters, "SelectConnection", SelectConnection),
    (pika.adapters.select_connection, "SelectConnection", SelectConnection),
    (pika, "URLParameters", URLParameters),
    (pika.connection, "URLParameters", URLParameters),
)
_originals: list[tuple[Any, str, Any]] = []


def install(url: str | None = None) -> None:
    """Replace pika's connection classes by haypile's in this process. Idempotent.

    ``url``: where all connections go, as ``HAYPILE_URL``; None: where their parameters lead.
    """
    if url is not None:
        os.environ[URL_VARIABLE] = url
    if not _originals:
        for module, name, ours in _REPLACED:
            _originals.append((module, name, getattr(module, name)))
            setattr(module, name, ours)


def uninstall() -> None:
    """Undo ``install``: new connections are pika's own again."""
    while _originals:
        module, name, pikas = _originals.pop()
        setattr(module, name, pikas)


def environment(url: str | None) -> dict[str, str]:
    """The environment in which ``import pika`` gives haypile's connections."""
    environ = dict(os.environ)
    environ[RUN_VARIABLE] = "1"
    if url is not None:
        environ[URL_VARIABLE] = url
    paths = [str(SITE)]
    paths += [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(SITE)]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


def run(arguments: Sequence[str], url: str | None = None) -> None:
    """Become ``python ARGUMENTS…`` with pika replaced. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *arguments], environment(url))

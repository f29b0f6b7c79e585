"""Starting a program with pika replaced, its child processes included.

Owns: the environment that does it.
Must not know: what is replaced (``swap``). It imports neither pika nor what needs it: the program will do that.

``haypile run`` starts the program in a fresh interpreter whose environment makes Python load
``site/sitecustomize.py`` first; that waits for the first import of pika and calls ``swap.install``.
So ``sys.argv``, tracebacks and exit codes are Python's own, and every child process that inherits the
environment is covered.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Where the program's own ``sitecustomize`` is stood in for.
SITE = Path(__file__).parent / "site"
RUN_VARIABLE = "HAYPILE_RUN"
#: Where all connections go.
URL_VARIABLE = "HAYPILE_URL"


def environment(url: str | None) -> dict[str, str]:
    """The environment in which ``import pika`` gives haypile's connections."""
    environ = dict(os.environ)
    environ[RUN_VARIABLE] = "1"
    if url is not None:
        environ[URL_VARIABLE] = url
    site = str(SITE)
    paths = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != site]
    environ["PYTHONPATH"] = os.pathsep.join([site, *paths])
    return environ


def run(arguments: Sequence[str], url: str | None = None) -> None:
    """Become ``python ARGUMENTS…`` with pika replaced. Does not return. Raises OSError."""
    sys.stdout.flush()
    sys.stderr.flush()
    # -u, -O, -W …: what this interpreter was told holds for the program too.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.execve(sys.executable, [sys.executable, *flags, *arguments], environment(url))

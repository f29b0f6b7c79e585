"""Which kinds of kernel queues are to be had here.

Owns: that check, which imports a module of the kind and nothing else.
Must not know: lanes.
"""

from __future__ import annotations

from importlib import import_module


def check_support(transport: str) -> None:
    """Raise ImportError where there are no queues called ``transport`` ("posix" or "sysv").

    macOS has no POSIX queues: posix_ipc is built without them there.
    """
    name = f"{transport}_ipc"
    if not hasattr(import_module(name), "MessageQueue"):
        kind = {"posix": "POSIX", "sysv": "System V"}[transport]
        raise ImportError(f"this system has no {kind} message queues, and {name} was built without them")

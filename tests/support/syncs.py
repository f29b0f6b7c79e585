"""What a disk has been told to keep.

Owns: the calls of ``os`` by which haypile has something on a disk when they return.
Must not know: what is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

#: ``pwritev`` is used for files opened with O_DSYNC, and for nothing else.
SYNCS = ("fsync", "fdatasync", "sync", "pwritev")
#: Those of a flush.
FLUSHES = ("fdatasync", "pwritev")


def after_each(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Have ``then`` called whenever a flush has come to the disk."""

    def followed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = real(*arguments)
            then()
            return result

        return call

    for name in FLUSHES:
        monkeypatch.setattr(os, name, followed(getattr(os, name)))

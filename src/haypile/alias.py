"""``haypile.exceptions`` is ``pika.exceptions``: pika's submodules under our name.

Owns: the import hook that answers ``import haypile.X`` with pika's module of that name, where
haypile has none of its own.
Must not know: what is in them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

PREFIX = "haypile."


class _PikasModule(Loader):
    """Loads by naming: the module is pika's own, the very same object."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.original: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.original = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just put our spec on it.
        module.__spec__ = self.original


class _Finder(MetaPathFinder):
    """Finds ``haypile.X`` where only ``pika.X`` exists."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX) or PathFinder.find_spec(fullname, path) is not None:
            return None
        name = "pika." + fullname[len(PREFIX) :]
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            return None
        return spec_from_loader(fullname, _PikasModule(name)) if found is not None else None


def alias_pika() -> None:
    """Make ``import haypile.X`` work for every submodule of pika. Idempotent."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())

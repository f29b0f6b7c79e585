"""``haypile.exceptions`` is ``pika.exceptions``: pika's submodules under our name.

Owns: the import hook that answers ``import haypile.X`` with pika's module of that name, where
haypile has none of its own.
Must not know: what is in them.

Type checkers read the stubs beside this file instead (``exceptions.pyi`` …).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

PREFIX = "haypile."


class _PikasModule:  # a Loader; a base class of importlib.abc costs 15 ms
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


class _Finder:
    """Finds ``haypile.X`` where only ``pika.X`` exists."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        parent = sys.modules[fullname.rpartition(".")[0]]
        # Below an alias pika's directory would be searched, and a second copy of the module made.
        if parent.__name__.startswith(PREFIX[:-1]):
            ours = PathFinder.find_spec(fullname, path)
            if ours is not None and ours.has_location:  # a directory of stubs alone is no module
                return None
        name = "pika." + fullname[len(PREFIX) :]
        try:
            if find_spec(name) is None:
                return None
        except ModuleNotFoundError:
            return None
        return ModuleSpec(fullname, cast("Loader", _PikasModule(name)))


def alias_pika() -> None:
    """Make ``import haypile.X`` work for every submodule of pika. Idempotent."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)

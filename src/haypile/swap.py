"""Putting haypile in the place of pika, for programs that say ``import pika`` and must not be touched.

Owns: which names of pika are replaced and put back.
Must not know: where connections go, how a program is started (``launch``).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import pika
import pika.adapters
import pika.adapters.asyncio_connection
import pika.adapters.blocking_connection
import pika.adapters.select_connection
import pika.connection

from haypile.fronts.asyncio import AsyncioConnection
from haypile.fronts.blocking import BlockingConnection
from haypile.fronts.select import SelectConnection
from haypile.launch import URL_VARIABLE
from haypile.parameters import URLParameters
from haypile.targets import PikaURLParameters

#: pika's classes, what stands in for them, and the modules that name them.
_REPLACED: tuple[tuple[Any, Any, tuple[Any, ...]], ...] = (
    (
        pika.adapters.blocking_connection.BlockingConnection,
        BlockingConnection,
        (pika, pika.adapters, pika.adapters.blocking_connection),
    ),
    (
        pika.adapters.select_connection.SelectConnection,
        SelectConnection,
        (pika, pika.adapters, pika.adapters.select_connection),
    ),
    (
        pika.adapters.asyncio_connection.AsyncioConnection,
        AsyncioConnection,
        (pika.adapters, pika.adapters.asyncio_connection),
    ),
    (PikaURLParameters, URLParameters, (pika, pika.connection)),
)
#: Modules of pika that need a library, which the program may not have; what is replaced in them, and
#: where ours is.
_ON_IMPORT = {
    f"pika.adapters.{loop}_connection": (name, f"haypile.fronts.{loop}")
    for loop, name in (
        ("tornado", "TornadoConnection"),
        ("gevent", "GeventConnection"),
        ("twisted", "TwistedProtocolConnection"),
    )
}
#: What was replaced in them so far: module, name, pika's class.
_on_import: list[tuple[Any, str, Any]] = []
_installed = False
#: HAYPILE_URL as it was before ``install(url)`` set it.
_url_before: list[str | None] = []


def install(url: str | None = None) -> None:
    """Replace pika's connection classes by haypile's in this process. Idempotent.

    ``url``: where all connections go, as ``HAYPILE_URL`` (child processes inherit it); None: where their
    parameters lead. What was imported before is replaced too: pika's classes, when called, make ours.
    """
    global _installed
    if url is not None:
        if not _url_before:
            _url_before.append(os.environ.get(URL_VARIABLE))
        os.environ[URL_VARIABLE] = url
    if not _installed:
        _installed = True
        for original, ours, modules in _REPLACED:
            _redirect(original, ours)
            for module in modules:
                setattr(module, original.__name__, ours)
        sys.meta_path.insert(0, _WhenImported)
        for module_name in _ON_IMPORT.keys() & sys.modules.keys():
            _replace_in(sys.modules[module_name])


def uninstall() -> None:
    """Undo ``install``: new connections are pika's own again, and HAYPILE_URL is what it was."""
    global _installed
    if _url_before:
        before = _url_before.pop()
        if before is None:
            os.environ.pop(URL_VARIABLE, None)
        else:
            os.environ[URL_VARIABLE] = before
    if _installed:
        _installed = False
        for original, _, modules in _REPLACED:
            for module in modules:
                setattr(module, original.__name__, original)
        sys.meta_path.remove(_WhenImported)
        while _on_import:
            module, name, original = _on_import.pop()
            setattr(module, name, original)


def is_installed() -> bool:
    """Whether pika's classes are replaced in this process."""
    return _installed


class _WhenImported:
    """A finder that lets others find the modules of ``_ON_IMPORT``, and adds a step after their loading."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any, target: Any = None) -> Any:
        """See importlib."""
        if fullname not in _ON_IMPORT:
            return None
        found = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not cls)
        spec = next((one for one in found if one is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_replace(module: Any) -> None:
                load(module)
                if _installed:
                    _replace_in(module)

            spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


def _replace_in(module: Any) -> None:
    """Put our class into one of the modules of ``_ON_IMPORT``."""
    name, front = _ON_IMPORT[module.__name__]
    original = getattr(module, name)
    # None: the front itself is being imported, and this is the import of what it builds on.
    ours = getattr(import_module(front), name, None)
    if ours is not None and ours is not original:
        _redirect(original, ours)
        _on_import.append((module, name, original))
        setattr(module, name, ours)


def _redirect(original: Any, ours: Any) -> None:
    """Calling ``original``, by whatever name it was imported, makes one of ``ours`` while installed.

    Left in place for good: a class whose ``__new__`` was set and deleted takes no arguments any more
    (https://bugs.python.org/issue25731).
    """

    # pika 1.3 says super(SelectConnection, self), which must go on to mean pika's.
    name = original.__name__
    own_name = f"_pikas_{name}"
    for function in vars(original).values():
        code = getattr(function, "__code__", None)
        if code is not None and name in code.co_names:
            names = tuple(own_name if one == name else one for one in code.co_names)
            function.__code__ = code.replace(co_names=names)
            function.__globals__[own_name] = original

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(ours if cls is original and _installed else cls)

    if original.__dict__.get("__new__") is None:
        original.__new__ = new

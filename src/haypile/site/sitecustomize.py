"""Loaded by Python at start under ``haypile run``: replaces pika when it is first imported.

Owns: waiting for that import, in this process and in every Python it starts.
Must not know: what is replaced (``haypile.swap``).

It imports nothing that costs time, does nothing unless ``HAYPILE_RUN`` is set, takes its own folder off
``sys.path``, and hands on to the ``sitecustomize`` that would have been loaded without it.
"""

import importlib.machinery
import os
import sys


class _WhenPikaIsImported:
    """A finder that lets others find pika and adds a step after its loading."""

    looking = False

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != "pika" or cls.looking:
            return None
        cls.looking = True
        try:
            found = (finder.find_spec(fullname, path, target) for finder in sys.meta_path)
            spec = next((one for one in found if one is not None), None)
        finally:
            cls.looking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_replace(module):  # type: ignore[no-untyped-def]
                load(module)
                _replace()  # type: ignore[no-untyped-call]

            spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


def _replace():  # type: ignore[no-untyped-def]
    if _WhenPikaIsImported in sys.meta_path:
        sys.meta_path.remove(_WhenPikaIsImported)
    try:
        import haypile.swap as swap  # noqa: PLC0415
    except ImportError as error:
        if error.name is None or not error.name.startswith("haypile"):
            raise
        # Another interpreter, where haypile is not installed: pika stays as it is.
        return
    swap.install()


def _hand_on(rest):  # type: ignore[no-untyped-def]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec  # noqa: PLC0415

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start():  # type: ignore[no-untyped-def]
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    if os.environ.get("HAYPILE_RUN"):
        sys.meta_path.insert(0, _WhenPikaIsImported)
    _hand_on(sys.path)  # type: ignore[no-untyped-call]


_start()  # type: ignore[no-untyped-call]

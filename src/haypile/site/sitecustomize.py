"""Loaded by Python at start under ``haypile run``: replaces pika when it is first imported.

It imports nothing that costs time, does nothing unless ``HAYPILE_RUN`` is set, and hands on to the
``sitecustomize`` that would have been loaded without it.
"""

import importlib.machinery
import importlib.util
import os
import sys


class _WhenPikaIsImported:
    """A finder that lets others find pika and adds a step after its loading."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != "pika":
            return None
        sys.meta_path.remove(_WhenPikaIsImported)
        spec = importlib.util.find_spec("pika")
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_replace(module):  # type: ignore[no-untyped-def]
            load(module)
            try:
                import haypile.swap as swap  # noqa: PLC0415
            except ImportError as error:
                if error.name is None or not error.name.startswith("haypile"):
                    raise
                # Another interpreter, where haypile is not installed: pika stays as it is.
                return
            swap.install()

        spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


def _hand_on() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    rest = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if os.environ.get("HAYPILE_RUN"):
    sys.meta_path.insert(0, _WhenPikaIsImported)
_hand_on()

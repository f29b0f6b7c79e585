"""Integers that are written with 64 bits whatever their value.

Owns: ``long``, pika's marker for them, where pika has one.
Must not know: where they are used.

pika's development branch has none: there an integer is as wide as its value needs.
"""

from __future__ import annotations

try:
    from pika.compat import long
except ImportError:

    class long(int):  # type: ignore[no-redef]
        """An integer."""


__all__ = ["long"]

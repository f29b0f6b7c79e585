"""What links make their connections of.

Owns: that one class, handed in by the fronts, which are above this room.
Must not know: anything else. Every program that imports haypile imports this, few run links.
"""

from __future__ import annotations

from typing import Any

_connection_class: list[Any] = []


def use(connection_class: Any) -> None:
    """Make the connections of links of ``connection_class``: pika's SelectConnection over a wire."""
    _connection_class[:] = [connection_class]


def connection_class() -> Any:
    """What ``use`` was given."""
    return _connection_class[0]

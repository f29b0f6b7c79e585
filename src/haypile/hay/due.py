"""When somebody must look at a queue: rows of the store, in the order of time.

Owns: the layout of these rows (in the main tree: 20, when u64, kind u8, queue u32).
Must not know: what is looked for.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haypile.hay.txn import WriteTxn

_ROW = Struct(">BQBI")
_PREFIX = b"\x20"


def put_due(txn: WriteTxn, when: int, kind: int, queue: int) -> None:
    """Have somebody look at ``queue`` at ``when`` (ns of ``Hay.now()``)."""
    txn.put_internal(_ROW.pack(0x20, when, kind, queue), b"\x00")


def take_due(txn: WriteTxn, now: int, limit: int) -> list[tuple[int, int, int]]:
    """Remove up to ``limit`` rows that are due at ``now``: (when, kind, queue)."""
    found: list[tuple[int, int, int]] = []
    while len(found) < limit:
        key = txn.first_internal(_PREFIX)
        if key is None:
            break
        _, when, kind, queue = _ROW.unpack(key)
        if when > now:
            break
        txn.delete_internal(key)
        found.append((when, kind, queue))
    return found


def first_due(txn: WriteTxn) -> int:
    """When the next row is due; 0: there is none."""
    key = txn.first_internal(_PREFIX)
    return 0 if key is None else int(_ROW.unpack(key)[1])

"""How items become bytes.

Owns: the serialisers, and the refusal to unpickle what another user may have written.
Must not know: queues.

Pickle, as multiprocessing does it, is the default where only our own user can write: unpickling runs
code. Where others can (another host, a vhost shared with a group) it is refused unless the program asks
for ``serializer="pickle"`` itself, and then warned about once.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple


class PicklingRefused(ValueError):
    """Pickle is the default, but somebody else may write into this queue."""


class UnsafePickle(UserWarning):
    """Items that somebody else may have written are unpickled, which runs what they say."""


class Serializer(NamedTuple):
    """How items become bytes, and back."""

    name: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def _pickled(item: Any) -> bytes:
    try:
        # Far quicker; what only multiprocessing can pickle (connections, locks) fails here.
        return pickle.dumps(item, -1)
    except Exception:
        return bytes(ForkingPickler.dumps(item, -1))


def _bytes(item: Any) -> bytes:
    if not isinstance(item, (bytes, bytearray, memoryview)):
        raise TypeError(f"this queue carries bytes, not {type(item).__name__}")
    return bytes(item)


def _json(item: Any) -> bytes:
    return json.dumps(item, separators=(",", ":")).encode()


def _msgpack() -> Serializer:
    import msgpack  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - optional

    return Serializer("msgpack", msgpack.packb, msgpack.unpackb)


_KNOWN = {
    "pickle": Serializer("pickle", _pickled, pickle.loads),
    "bytes": Serializer("bytes", _bytes, bytes),
    "json": Serializer("json", _json, json.loads),
}


def serializer(name: str | None, *, private: bool) -> Serializer:
    """The serialiser called ``name``; None: pickle, if only our user can write (``private``).

    Raises ``PicklingRefused``, ValueError for an unknown name, ImportError when msgpack is not installed.
    """
    if name is None:
        if not private:
            raise PicklingRefused(
                "others can write into this queue, and unpickling what they write would run their code: "
                'choose serializer="json", "msgpack" or "bytes", or say serializer="pickle" if you trust them'
            )
        name = "pickle"
    elif name == "pickle" and not private:
        warnings.warn(
            "items of this queue may be written by others, and unpickling runs what they say",
            UnsafePickle,
            stacklevel=4,
        )
    if name == "msgpack":
        return _msgpack()
    try:
        return _KNOWN[name]
    except KeyError:
        raise ValueError(f"unknown serializer {name!r}; known are pickle, bytes, json, msgpack") from None

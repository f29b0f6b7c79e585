"""What can go wrong in the store, said once.

Owns: the exceptions that leave ``haypile.hay``.
Must not know: AMQP reply codes; the broker chooses those.

LMDB's and the kernel's own exceptions are translated where they arise (``txn``, ``store``,
``gates``). Anything else that leaves this package is a bug.
"""

from __future__ import annotations


class HayError(Exception):
    """Base of the store's exceptions."""


class UnusableDirectory(HayError):
    """The state directory cannot be used safely; the text names it and says what to do."""


class OutOfRoom(HayError):
    """No memory or disk space for this transaction; nothing of it was written."""


class JournalLost(HayError):
    """The journal cannot be written: what is not on disk yet will not get there."""


class NestedTransaction(HayError, RuntimeError):
    """``Hay.write()`` inside a write transaction of the same thread."""


class HayClosed(HayError):
    """The store was closed."""

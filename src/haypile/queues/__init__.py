"""Queues as ``multiprocessing`` and ``ipcqueue`` shape them, on haypile's kernel queues and store.

Owns: the names a program imports.
Must not know: how they work.
"""

from haypile.queues import posixmq, sysvmq
from haypile.queues.joinable import JoinableQueue
from haypile.queues.pipe import Connection, Pipe
from haypile.queues.queue import Queue, SimpleQueue
from haypile.queues.serial import PicklingRefused, UnsafePickle

__all__ = [
    "Connection",
    "JoinableQueue",
    "PicklingRefused",
    "Pipe",
    "Queue",
    "SimpleQueue",
    "UnsafePickle",
    "posixmq",
    "sysvmq",
]

"""What the broker does with each method a client may send, one module a class of methods.

``registry`` holds the table; importing this package fills it.
"""

from haypile.broker.handlers import basic, connection, modes, publish, topology
from haypile.broker.handlers.registry import dispatch

__all__ = ["basic", "connection", "dispatch", "modes", "publish", "topology"]

"""What an operation on the topology works with.

Owns: the pieces one operation needs, and what it leaves behind for its caller to do.
Must not know: sessions as objects, channels, replies.
"""

from __future__ import annotations

from collections.abc import Callable

from haypile.broker import texts
from haypile.broker.entities import Queue
from haypile.broker.errors import AccessRefused
from haypile.broker.rows import Binding
from haypile.broker.topology import Topology
from haypile.hay.txn import WriteTxn


def _nothing(queue: Queue) -> None:
    """The default of ``Context.drain``."""


class Context:
    """One operation inside ``with hay.write() as txn: topology.sync(txn); …``."""

    __slots__ = ("deleted", "drain", "last_queue", "recalling", "session", "topology", "txn")

    def __init__(
        self,
        topology: Topology,
        txn: WriteTxn,
        session: int,
        last_queue: str = "",
        drain: Callable[[Queue], object] = _nothing,
    ) -> None:
        self.topology = topology
        self.txn = txn
        #: Id of the session that asks; 0: the broker itself.
        self.session = session
        #: The queue last declared on the channel; ``queue_declare`` sets it. Empty: none.
        self.last_queue = last_queue
        #: Moves the messages in a queue's lane into the hay, before they are counted or deleted.
        self.drain = drain
        #: Queues this operation deleted. They still show their lane (to be unlinked after the commit)
        #: and their consumers (to be cancelled, in whichever session).
        self.deleted: list[Queue] = []
        #: New bindings of exchanges that have kept messages for them (x-recent-history).
        self.recalling: list[Binding] = []

    @property
    def vhost(self) -> str:
        """Name of the vhost, for texts."""
        return self.topology.vhost

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set or (None) delete a row."""
        self.topology.write(self.txn, key, value)

    def ready(self, queue: Queue) -> int:
        """Ready messages of ``queue``."""
        self.drain(queue)
        return self.txn.count(queue.id)[0]

    def queue_text(self, name: str) -> str:
        """The queue as error texts name it."""
        return texts.queue(name, self.vhost)

    def exchange_text(self, name: str) -> str:
        """The exchange as error texts name it."""
        return texts.exchange(name, self.vhost)


def strip(name: str) -> str:
    """A name without line ends, which RabbitMQ takes out wherever an object is declared or bound."""
    return name.replace("\n", "").replace("\r", "")


def check_name(kind: str, name: str) -> None:
    """Raise AccessRefused when a new object's name is reserved."""
    if name.startswith("amq."):
        raise AccessRefused(texts.reserved_name(kind, name))

"""A vhost without sessions: its store in memory, its topology, and the operations on it. Live ones, too."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

import haypile
from haypile.broker import declare
from haypile.broker.declare.context import Context
from haypile.broker.errors import AMQPError
from haypile.broker.topology import Queue, Topology
from haypile.hay.store import Hay
from tests.support.vhosts import Vhost


class Desk:
    """Carries out operations on one vhost, as session 1 unless told otherwise."""

    def __init__(self, hay: Hay, vhost: str = "/") -> None:
        self.hay = hay
        self.topology = Topology(hay, vhost)
        self.last_queue = ""
        self.deleted: list[Queue] = []

    def do(self, operation: Callable[..., Any], *args: Any, session: int = 1, **options: Any) -> Any:
        """Run one operation in a transaction of its own."""
        with self.hay.write() as txn:
            self.topology.sync(txn)
            ctx = Context(self.topology, txn, session, last_queue=self.last_queue)
            try:
                return operation(ctx, *args, **options)
            finally:
                self.last_queue = ctx.last_queue
                self.deleted = ctx.deleted

    def refused(self, operation: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, str | bytes]:
        """Code and text with which an operation is refused."""
        with pytest.raises(AMQPError) as caught:
            self.do(operation, *args, **options)
        return caught.value.reply_code, caught.value.reply_text

    def queue(self, name: str = "", *, session: int = 1, **fields: Any) -> Queue:
        """queue.declare."""
        queue: Queue = self.do(declare.queue_declare, spec.Queue.Declare(queue=name, **fields), session=session)
        return queue

    def exchange(self, name: str, kind: str = "direct", **fields: Any) -> None:
        """exchange.declare."""
        self.do(declare.exchange_declare, spec.Exchange.Declare(exchange=name, type=kind, **fields))

    def bind(self, exchange: str, queue: str, key: str = "", arguments: dict[str, Any] | None = None) -> None:
        """queue.bind."""
        self.do(
            declare.queue_bind,
            spec.Queue.Bind(exchange=exchange, queue=queue, routing_key=key, arguments=arguments),
        )

    def bind_exchange(
        self, source: str, destination: str, key: str = "", arguments: dict[str, Any] | None = None
    ) -> None:
        """exchange.bind."""
        self.do(
            declare.exchange_bind,
            spec.Exchange.Bind(source=source, destination=destination, routing_key=key, arguments=arguments),
        )

    def unbind(self, exchange: str, queue: str, key: str = "", arguments: dict[str, Any] | None = None) -> None:
        """queue.unbind."""
        self.do(
            declare.queue_unbind,
            spec.Queue.Unbind(exchange=exchange, queue=queue, routing_key=key, arguments=arguments),
        )

    def routed(self, exchange: str, key: str = "", headers: dict[str, Any] | None = None, *more: str) -> list[str]:
        """Names of the queues a message reaches."""
        return [queue.name for queue in self.topology.route(exchange, key, headers, more).queues]


@pytest.fixture
def hay() -> Iterator[Hay]:
    """A fresh store."""
    place = Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/dev/shm"))
    store = Hay.open(place / "vhost")
    yield store
    store.close()
    shutil.rmtree(place)
    # The gate page stays mapped until everybody who looked at it is gone.
    store.write().on_commit.clear()
    gc.collect()


@pytest.fixture
def desk(hay: Hay) -> Iterator[Desk]:
    """A vhost."""
    one = Desk(hay)
    yield one
    vars(one).clear()


@pytest.fixture
def posix(make_vhost: Callable[[str], Vhost]) -> Vhost:
    """A fresh vhost that connections can be made to."""
    return make_vhost("posix")


@pytest.fixture
def connect(posix: Vhost) -> Iterator[Callable[[], BlockingConnection]]:
    """Makes connections to it, closed after the test."""
    made: list[BlockingConnection] = []

    def one() -> BlockingConnection:
        made.append(haypile.BlockingConnection(haypile.URLParameters(posix.url)))
        return made[-1]

    yield one
    for connection in made:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(connect: Callable[[], BlockingConnection]) -> BlockingChannel:
    """A channel on it."""
    return connect().channel()

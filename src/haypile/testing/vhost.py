"""A fresh vhost, as a test uses it.

Owns: connecting to it, looking at its messages, taps, waiting until a queue drains, and its clock.
Must not know: pytest; how vhosts are made and removed (``vhosts``).

Everything works over kernel queues and over a RabbitMQ; where the two differ the docstring says so.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError

from haypile import targets
from haypile.admin.looking import Look, Seen, look_at
from haypile.fronts.blocking import BlockingConnection
from haypile.hay.clock import VARIABLE, ShiftedClock
from haypile.parameters import URLParameters

#: Seconds that helpers wait for something to happen, unless they are told.
PATIENCE = 10.0
#: Seconds between looks.
LOOK = 0.01


class Tap:
    """A copy of what an exchange routes, from the moment it is made. From ``FreshVhost.tap``."""

    def __init__(self, vhost: FreshVhost, queue: str) -> None:
        self.vhost = vhost
        #: The queue that gets the copies.
        self.queue = queue

    @property
    def messages(self) -> list[Seen]:
        """What was published so far, in order."""
        return self.vhost.messages(self.queue)


class FreshVhost:
    """A vhost of one test. From the fixture ``haypile_vhost``."""

    def __init__(self, transport: str, url: str, clock: Path | None = None) -> None:
        """``clock``: where the file of its clock is (``hay.clock``), over kernel queues."""
        #: "posix", "sysv" or "amqp".
        self.transport = transport
        #: What HAYPILE_URL, ``haypile run --url`` and ``haypile.URLParameters`` take.
        self.url = url
        self._clock = None if clock is None else ShiftedClock(clock)
        self._clock_path = clock
        self._connection: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment, so that haypile connects it to this vhost."""
        clock = {} if self._clock_path is None else {VARIABLE: str(self._clock_path)}
        return {targets.URL_VARIABLE: self.url, **clock}

    # -- connecting -------------------------------------------------------------------------

    @property
    def parameters(self) -> Any:
        """Parameters for any connection class of ``haypile``."""
        return URLParameters(self.url)

    def connect(self) -> Any:
        """A new ``haypile.BlockingConnection``; close it, or use it in a ``with`` block."""
        with self._here():
            return BlockingConnection(self.parameters)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        """Our URL counts, not HAYPILE_URL."""
        before = os.environ.pop(targets.URL_VARIABLE, None)
        try:
            yield
        finally:
            if before is not None:
                os.environ[targets.URL_VARIABLE] = before

    @property
    def channel(self) -> Any:
        """A channel of a connection that the vhost keeps for its helpers, opened anew after an error."""
        if self._connection is None or not self._connection.is_open:
            self._connection = self.connect()
        return self._connection.channel()

    def close(self) -> None:
        """Close the helpers' connection."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            with contextlib.suppress(AMQPError):
                connection.close()

    @contextlib.contextmanager
    def _look(self) -> Iterator[Look]:
        local = targets.parse_local(self.url)
        assert local is not None
        with look_at(targets.local_target(local, "/")) as look:
            yield look

    # -- what was published -----------------------------------------------------------------

    def messages(self, queue: str) -> list[Seen]:
        """The messages that are ready in ``queue``, in order; they stay there.

        Over a RabbitMQ they are taken and put back, which marks them redelivered. Raises KeyError when there is
        no such queue.
        """
        if self.transport != "amqp":
            with self._look() as look:
                found = look.queue(queue)
                if found is None:
                    raise KeyError(f"there is no queue {queue!r} in {self.url}")
                return look.peek(found, 1 << 31)
        channel = self._checked(queue)
        seen = []
        while True:
            method, properties, body = channel.basic_get(queue)
            if method is None:
                break
            seen.append(Seen(body, method.exchange, method.routing_key, properties, method.redelivered))
        channel.close()
        return seen

    def _checked(self, queue: str) -> Any:
        channel = self.channel
        try:
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            raise KeyError(f"there is no queue {queue!r} in {self.url}") from error
        return channel

    def tap(self, exchange: str, routing_key: str = "#", arguments: dict[str, Any] | None = None) -> Tap:
        """Copy what is published to ``exchange`` from now on.

        ``routing_key`` and ``arguments`` are those of a binding: of a direct exchange name the key, of a
        topic exchange "#" is everything. The default exchange has no bindings: look at the queue itself.
        """
        channel = self.channel
        queue: str = channel.queue_declare("", durable=False).method.queue
        channel.queue_bind(queue, exchange, routing_key, arguments=arguments)
        channel.close()
        return Tap(self, queue)

    def assert_published(self, where: str | Tap, *bodies: bytes | str, timeout: float = PATIENCE) -> list[Seen]:
        """Wait until ``where``, a queue's name or a tap, holds exactly ``bodies``, in order; returns the messages.

        Raises AssertionError, which says what was there instead.
        """
        queue = where.queue if isinstance(where, Tap) else where
        wanted = [body.encode() if isinstance(body, str) else body for body in bodies]
        found: list[Seen] = []

        def there() -> bool:
            found[:] = self.messages(queue)
            return len(found) >= len(wanted)

        wait_for(there, timeout)
        got = [one.body for one in found]
        if got != wanted:
            raise AssertionError(f"published to {queue!r}: {got!r}, expected {wanted!r}")
        return found

    def assert_nothing_published(self, where: str | Tap) -> None:
        """Raise AssertionError when ``where``, a queue's name or a tap, holds a message now."""
        self.assert_published(where, timeout=0)

    # -- waiting ----------------------------------------------------------------------------

    def wait_until_empty(self, queue: str, timeout: float = PATIENCE) -> None:
        """Wait until no message of ``queue`` is ready or unacknowledged; ``timeout`` in seconds.

        Over a RabbitMQ only the ready ones can be seen (AMQP does not tell of the others). Raises KeyError
        when there is no such queue, TimeoutError.
        """
        ready = unacknowledged = 0

        def empty() -> bool:
            nonlocal ready, unacknowledged
            ready, unacknowledged = self.counts(queue)
            return not ready and not unacknowledged

        if not wait_for(empty, timeout):
            raise TimeoutError(
                f"after {timeout:g} s queue {queue!r} still has {ready} messages ready, {unacknowledged} unacknowledged"
            )

    def counts(self, queue: str) -> tuple[int, int]:
        """Messages of ``queue`` that are ready, and unacknowledged (0 over a RabbitMQ). Raises KeyError."""
        if self.transport == "amqp":
            channel = self._checked(queue)
            ready: int = channel.queue_declare(queue, passive=True).method.message_count
            channel.close()
            return ready, 0
        with self._look() as look:
            found = look.queue(queue)
            if found is None:
                raise KeyError(f"there is no queue {queue!r} in {self.url}")
            return look.counts(found)

    # -- time -------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Let the vhost's time stand still, for TTLs and expiry, in all processes. Nothing over a RabbitMQ."""
        if self._clock is not None:
            self._clock.turn(frozen=True)

    def advance(self, seconds: float) -> None:
        """Put the vhost's time forward, frozen or not; what is due has happened when this returns.

        Over a RabbitMQ it waits for so long.
        """
        if self._clock is None:
            time.sleep(seconds)
            return
        self._clock.turn(seconds)
        with self._look() as look:
            look.settle_due()

    def thaw(self) -> None:
        """Let time go on from where it stands."""
        if self._clock is not None:
            self._clock.turn(frozen=False)


def wait_for(check: Callable[[], bool], timeout: float) -> bool:
    """Whether ``check`` came true within ``timeout`` seconds; it is tried at least once."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK)
    return True

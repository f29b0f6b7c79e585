"""One of two brokers that are driven by the same operations: pika connections, and all that came back.

Owns: several connections with several channels each on one broker, what was delivered, returned and cancelled,
what is held unacknowledged, and the turning of every loop until nothing moves any more.
Must not know: the other side, and which operations there are.

A message is known by its queue and its body (bodies are unique), never by its delivery tag: where one channel
consumes from two queues, tags depend on which queue was faster.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pika
from pika import exceptions

#: A queue that is always there, for questions that only ask whether a channel still answers.
FENCE = "fence"
#: Rounds of loop turns in which nothing may move before all is called quiet.
QUIET_ROUNDS = 3
#: Seconds between those rounds. RabbitMQ's processes need a moment; they answer counts before older messages.
PAUSE = 0.002
#: Seconds until "quiet" is given up.
PATIENCE = 20.0
#: Each side has a vhost of its own name.
VHOST = re.compile(r"vhost '[^']*'")
Held = tuple[str, str]
Counts = dict[str, tuple[int, int]]


def short(body: bytes) -> str:
    """A body by its beginning and its length."""
    return f"{body.rstrip(b'.').decode()}+{len(body)}"


def describe(error: BaseException) -> str:
    """Class, code and text of an exception, with returned messages."""
    name = type(error).__name__
    if isinstance(error, (exceptions.ChannelClosed, exceptions.ConnectionClosed)):
        return f"{name} {error.reply_code} {VHOST.sub('vhost V', error.reply_text)}"
    if isinstance(error, (exceptions.UnroutableError, exceptions.NackError)):
        returned = [(m.method.reply_code, m.method.reply_text, short(m.body)) for m in error.messages]
        return f"{name} {returned}"
    return f"{name} {error}"


def describe_properties(properties: pika.BasicProperties) -> str:
    """The properties that are set; of dead letters all but the time."""
    shown = {key: value for key, value in vars(properties).items() if value is not None}
    headers = shown.get("headers") or {}
    for death in headers.get("x-death", ()):
        death.pop("time", None)
    return repr(sorted(shown.items()))


def lines(messages: list[str]) -> list[str]:
    """Messages in two lines, each in order: those published here, then those that came as dead letters.

    A queue of RabbitMQ publishes its dead letters by itself: where they fall among the messages of one burst is chance.
    """
    return sorted(messages, key=lambda text: "'x-death'" in text)


@dataclass
class Consumer:
    """A consumer of ours; ``arrived`` is what it got since the last look."""

    queue: str
    auto_ack: bool
    arrived: list[str] = field(default_factory=list)


@dataclass
class Channel:
    """A channel and what the application knows of it."""

    impl: Any
    number: int
    #: Makes the next body of its side: the same on both sides, and never twice.
    next_body: Callable[[], str]
    consumers: dict[str, Consumer] = field(default_factory=dict)
    held: dict[Held, int] = field(default_factory=dict)
    in_transaction: bool = False
    #: In a transaction: what was acknowledged since the last commit, or given back.
    undecided: dict[Held, int] = field(default_factory=dict)
    returned: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    last_tag: int = 0

    def on_message(self, tag: str, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        """A delivery: noted for its consumer, and held unless it is acknowledged already."""
        consumer = self.consumers[tag]
        self._count_tag(method.delivery_tag)
        place = f"{method.exchange!r} {method.routing_key!r} {int(method.redelivered)}"
        consumer.arrived.append(f"{short(body)} {place} {describe_properties(properties)}")
        if not consumer.auto_ack:
            self.held[consumer.queue, short(body)] = method.delivery_tag

    def got(self, queue: str, method: Any, body: bytes, auto_ack: bool) -> None:
        """The answer to a basic.get."""
        self._count_tag(method.delivery_tag)
        if not auto_ack:
            self.held[queue, short(body)] = method.delivery_tag

    def retire(self, tag: str) -> None:
        """A consumer of ours ended."""
        self.consumers.pop(tag, None)

    def up_to(self, message: Held) -> set[Held]:
        """What a multiple acknowledgement of ``message`` covers."""
        last = self.held[message]
        return {one for one, tag in self.held.items() if tag <= last}

    def settle(self, messages: Iterable[Held]) -> None:
        """They are not held any more; in a transaction that is not certain yet."""
        for message in messages:
            tag = self.held.pop(message)
            if self.in_transaction:
                self.undecided[message] = tag

    def transaction(self, name: str) -> None:
        """tx.select, commit or rollback was answered."""
        self.in_transaction = True
        if name == "rollback":
            self.held.update(self.undecided)
        self.undecided.clear()

    def _count_tag(self, tag: int) -> None:
        assert tag == self.last_tag + 1, f"delivery tag {tag} after {self.last_tag}"
        self.last_tag = tag

    def on_return(self, _channel: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        """A message that came back."""
        self.returned.append(
            f"{method.reply_code} {method.reply_text} {method.exchange!r} {method.routing_key!r} {short(body)} "
            f"{describe_properties(properties)}"
        )

    def on_cancel(self, frame: Any) -> None:
        """The broker cancelled a consumer."""
        self.cancelled.append(frame.method.consumer_tag)


class Side:
    """One broker with ``size`` connections of ``size`` channels. Closed ones are opened again when used."""

    def __init__(self, name: str, connect: Callable[[], Any], size: int) -> None:
        self.name = name
        self._connect = connect
        self.connections: list[Any] = [connect() for _ in range(size)]
        self.channels: dict[tuple[int, int], Channel] = {}
        self.published = 0
        #: Queues with a length limit.
        self.limited: set[str] = set()
        #: A connection of its own, for looking.
        self.watcher = connect()
        self.watching = self.watcher.channel()
        self.watching.queue_declare(FENCE)

    def channel(self, where: tuple[int, int]) -> Channel:
        """The channel there, opened if need be."""
        connection, _ = where
        if not self.connections[connection].is_open:
            self.connections[connection] = self._connect()
        channel = self.channels.get(where)
        if channel is None or not channel.impl.is_open:
            impl = self.connections[connection].channel()
            channel = self.channels[where] = Channel(impl, where[1], self._next_body)
            impl.add_on_return_callback(channel.on_return)
            impl.add_on_cancel_callback(channel.on_cancel)
        return channel

    def _next_body(self) -> str:
        self.published += 1
        return f"m{self.published}"

    def do(self, where: tuple[int, int], operation: Callable[[Channel], Any]) -> str:
        """Run ``operation`` on a channel; its result or its exception in words.

        A question follows on the same channel, so that a failure that RabbitMQ reports late is seen now.
        """
        channel = self.channel(where)
        try:
            result = operation(channel)
            channel.impl.queue_declare(FENCE, passive=True)
        except exceptions.AMQPError as error:
            self._forget_closed()
            return describe(error)
        except (ValueError, TypeError) as error:
            return describe(error)
        return repr(result)

    def _forget_closed(self) -> None:
        for where, channel in list(self.channels.items()):
            if not channel.impl.is_open:
                del self.channels[where]

    def close_channel(self, where: tuple[int, int]) -> None:
        """Close a channel as an application does."""
        self.channel(where).impl.close()
        self._forget_closed()

    def close_connection(self, connection: int) -> None:
        """Close a connection with all its channels."""
        if self.connections[connection].is_open:
            self.connections[connection].close()
        self._forget_closed()

    def counts(self, queues: Iterable[str]) -> Counts:
        """Ready messages and consumers of each queue."""
        found = {}
        for queue in queues:
            declared = self.watching.queue_declare(queue, passive=True).method
            found[queue] = (declared.message_count, declared.consumer_count)
        return found

    def quiet(self, queues: Iterable[str]) -> Counts:
        """Turn every loop until nothing moves; the counts then."""
        names = list(queues)
        deadline = time.monotonic() + PATIENCE
        still, before = 0, self._state(names)
        while still < QUIET_ROUNDS:
            assert time.monotonic() < deadline, f"{self.name} does not come to rest"
            for connection in self.connections:
                if connection.is_open:
                    connection.process_data_events(0)
            time.sleep(PAUSE)
            now = self._state(names)
            still = still + 1 if now == before else 0
            before = now
        self._forget_closed()
        return before[0]

    def _state(self, names: list[str]) -> tuple[Counts, int]:
        moved = sum(channel.last_tag + len(channel.returned) for channel in self.channels.values())
        return self.counts(names), moved + sum(len(c.cancelled) for c in self.channels.values())

    def arrived(self) -> dict[str, list[str]]:
        """What consumers got since the last call: by consumer, or by queue where several connections share it.

        Consumers of one connection take turns; which of several connections gets a message is nobody's promise.
        """
        found: dict[str, list[str]] = {}
        sharing = {queue for queue in self.sharing() if len(self._connections_of(queue)) > 1}
        for (connection, number), channel in self.channels.items():
            for tag, consumer in channel.consumers.items():
                if consumer.arrived:
                    shared = consumer.queue in sharing
                    key = consumer.queue if shared else f"connection {connection} channel {number} {tag}"
                    found.setdefault(key, []).extend(consumer.arrived)
                    consumer.arrived = []
        return {key: sorted(got) if key in sharing else lines(got) for key, got in sorted(found.items())}

    def consumers_of(self, queue: str) -> list[Consumer]:
        """The consumers of a queue."""
        return [consumer for consumer in self._consumers() if consumer.queue == queue]

    def sharing(self) -> set[str]:
        """Queues with several consumers."""
        queues = Counter(consumer.queue for consumer in self._consumers())
        return {queue for queue, count in queues.items() if count > 1}

    def _connections_of(self, queue: str) -> set[int]:
        return {where[0] for where, c in self.channels.items() if queue in {one.queue for one in c.consumers.values()}}

    def _consumers(self) -> list[Consumer]:
        return [c for channel in self.channels.values() for c in channel.consumers.values()]

    def events(self) -> dict[str, list[str]]:
        """Returned messages and cancelled consumers since the last call, by channel."""
        found: dict[str, list[str]] = {}
        for (connection, number), channel in sorted(self.channels.items()):
            for tag in channel.cancelled:
                channel.consumers.pop(tag, None)
            if channel.returned or channel.cancelled:
                key = f"connection {connection} channel {number}"
                found[key] = [*channel.returned, *sorted(channel.cancelled)]
                channel.returned, channel.cancelled = [], []
        return found

    def held(self) -> dict[tuple[int, int], set[Held]]:
        """What each channel holds."""
        return {where: set(channel.held) for where, channel in self.channels.items() if channel.held}

    def drain(self, queues: Iterable[str]) -> dict[str, list[str]]:
        """All that is ready in each queue, in order (see ``lines``)."""
        found: dict[str, list[str]] = {}
        for queue in queues:
            found[queue] = []
            while True:
                method, properties, body = self.watching.basic_get(queue, auto_ack=True)
                if method is None:
                    break
                found[queue].append(f"{short(body)} {int(method.redelivered)} {describe_properties(properties)}")
        return {queue: lines(got) for queue, got in found.items()}

    def close(self, queues: Iterable[str], exchanges: Iterable[str]) -> None:
        """Remove all that was made, and disconnect."""
        for connection in self.connections:
            if connection.is_open:
                connection.close()
        if not self.watcher.is_open:
            self.watcher = self._connect()
        cleaning = self.watcher.channel()
        for queue in queues:
            cleaning.queue_delete(queue)
        for exchange in exchanges:
            cleaning.exchange_delete(exchange)
        self.watcher.close()

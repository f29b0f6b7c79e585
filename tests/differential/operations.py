"""The operations of the differential test: what is drawn, and how each is done on a channel.

Owns: a small class for each operation on few names, and the strategy that draws them, the productive ones more
often. Must not know: how results are compared (``machine``).

``skipped`` says when an operation would depend on chance or speed: which of several consumers a message goes
to, or which of several queues uses shared room first, is nobody's promise. And whether a burst is past a queue's
length limit depends on how fast its consumers are, so limited queues have none here (compat/ has some).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pika
from hypothesis import strategies as st

from tests.differential.side import Channel, Consumer, Held, Side, short

QUEUES = ("q1", "q2", "q3")
EXCHANGES = ("e1", "e2", "e3")
QUEUE_ARGUMENTS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"x-max-length": 2},
    {"x-max-length": 2, "x-overflow": "reject-publish"},
    {"x-max-priority": 3},
    {"x-dead-letter-exchange": "e1"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q3", "x-max-length": 3},
)
Where = tuple[int, int]


class Operation(Protocol):
    """One step."""

    def skipped(self, side: Side, where: Where) -> bool:
        """Whether its outcome would be up to chance. Asked of RabbitMQ's side."""
        ...

    def do(self, channel: Channel) -> Any:
        """Do it; returns what is to be compared."""
        ...


class Always:
    """Operations whose outcome nothing leaves to chance."""

    def skipped(self, side: Side, where: Where) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Call(Always):
    """A method of pika's channel that answers with a method frame."""

    name: str
    arguments: Mapping[str, Any]

    def do(self, channel: Channel) -> Any:
        answer = getattr(channel.impl, self.name)(**self.arguments).method
        fields = {key: value for key, value in vars(answer).items() if key != "queue" or value in QUEUES}
        return answer.NAME, sorted(fields.items())


@dataclass(frozen=True)
class Publish(Always):
    """A few messages, each with a body of its own."""

    exchange: str
    key: str
    mandatory: bool
    priority: int | None
    mode: int | None
    size: int
    count: int

    def do(self, channel: Channel) -> Any:
        properties = None  # the short way, if there is one
        if self.priority is not None or self.mode is not None:
            properties = pika.BasicProperties(priority=self.priority, delivery_mode=self.mode, app_id="x")
        for _ in range(self.count):
            body = channel.next_body().ljust(self.size, ".").encode()
            channel.impl.basic_publish(self.exchange, self.key, body, properties, mandatory=self.mandatory)


@dataclass(frozen=True)
class Get:
    """One message, if there is one."""

    queue: str
    auto_ack: bool

    def skipped(self, side: Side, where: Where) -> bool:
        return self.queue in side.sharing()

    def do(self, channel: Channel) -> Any:
        method, _, body = channel.impl.basic_get(self.queue, auto_ack=self.auto_ack)
        if method is None:
            return None
        channel.got(self.queue, method, body, self.auto_ack)
        return method.message_count, method.redelivered, method.exchange, method.routing_key, short(body)


@dataclass(frozen=True)
class Consume:
    """A new consumer."""

    queue: str
    tag: str
    auto_ack: bool
    exclusive: bool

    def skipped(self, side: Side, where: Where) -> bool:
        if self.queue in side.limited:
            return True
        others = side.consumers_of(self.queue)
        return bool(others) and not (self.auto_ack and all(consumer.auto_ack for consumer in others))

    def do(self, channel: Channel) -> Any:
        if self.tag in channel.consumers:
            return "tag in use"
        channel.consumers[self.tag] = Consumer(self.queue, self.auto_ack)
        try:
            return channel.impl.basic_consume(
                self.queue,
                lambda _, method, properties, body: channel.on_message(self.tag, method, properties, body),
                auto_ack=self.auto_ack,
                exclusive=self.exclusive,
                consumer_tag=self.tag,
            )
        except BaseException:
            channel.consumers.pop(self.tag, None)
            raise


@dataclass(frozen=True)
class Cancel(Always):
    """A consumer ends; what it holds stays held."""

    tag: str

    def do(self, channel: Channel) -> Any:
        undelivered = channel.impl.basic_cancel(self.tag)
        channel.retire(self.tag)
        return len(undelivered)


@dataclass(frozen=True)
class Qos:
    """Prefetch for later consumers, or for the whole channel."""

    count: int
    shared: bool

    def skipped(self, side: Side, where: Where) -> bool:
        return self.shared and len({c.queue for c in side.channel(where).consumers.values()}) > 1

    def do(self, channel: Channel) -> Any:
        channel.impl.basic_qos(prefetch_count=self.count, global_qos=self.shared)


@dataclass(frozen=True)
class Settle:
    """A held message, or all up to it, is acknowledged or given back. The machine says which."""

    which: int
    how: str
    multiple: bool
    requeue: bool

    def skipped(self, side: Side, where: Where) -> bool:
        return not side.held()

    def do_with(self, channel: Channel, message: Held, settled: set[Held]) -> Any:
        tag = channel.held[message]
        if self.how == "ack":
            channel.impl.basic_ack(tag, multiple=self.multiple)
        elif self.how == "nack":
            channel.impl.basic_nack(tag, multiple=self.multiple, requeue=self.requeue)
        else:
            channel.impl.basic_reject(tag, requeue=self.requeue)
        channel.settle(settled)


@dataclass(frozen=True)
class SettleUnknown(Always):
    """A delivery tag that is none."""

    how: str
    tag: int

    def do(self, channel: Channel) -> Any:
        return getattr(channel.impl, f"basic_{self.how}")(self.tag)


@dataclass(frozen=True)
class Recover(Always):
    """Everything held goes back."""

    def do(self, channel: Channel) -> Any:
        if channel.in_transaction:
            return
        channel.impl.basic_recover(requeue=True)
        channel.held.clear()


@dataclass(frozen=True)
class Confirm(Always):
    """Confirm mode."""

    def do(self, channel: Channel) -> Any:
        return channel.impl.confirm_delivery()


@dataclass(frozen=True)
class Transaction(Always):
    """tx.select, commit or rollback."""

    name: str

    def do(self, channel: Channel) -> Any:
        answer = getattr(channel.impl, f"tx_{self.name}")().method.NAME
        channel.transaction(self.name)
        return answer


@dataclass(frozen=True)
class CloseChannel:
    """The channel ends."""


@dataclass(frozen=True)
class CloseConnection:
    """The connection ends with all its channels."""


booleans = st.booleans()
seldom = st.sampled_from((False, False, False, True))
wheres = st.tuples(st.integers(0, 1), st.integers(0, 1))
#: The usual ones often, q3 seldom there, "absent" never.
queues = st.sampled_from(("q1", "q1", "q1", "q1", "q2", "q2", "q2", "q3", "q3", "absent"))
exchanges = st.sampled_from(("e1", "e1", "e2", "e2", "e3"))
any_exchanges = st.sampled_from(("e1", "e1", "e1", "e2", "e2", "e3", "amq.direct", "amq.topic", "absent"))
keys = st.sampled_from(("a", "a", "a.b", "#", "*.b", "a.*", "q1", "q2", "q3"))
kinds = st.sampled_from(("direct", "fanout", "topic", "headers"))
queue_arguments = st.sampled_from(QUEUE_ARGUMENTS)
tags = st.sampled_from(("t1", "t2", "t3"))


def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A ``Call`` with drawn arguments."""
    return st.builds(Call, st.just(name), st.fixed_dictionaries(arguments))


def publish(exchange: st.SearchStrategy[str], key: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """A ``Publish`` there."""
    return st.builds(
        Publish,
        exchange=exchange,
        key=key,
        mandatory=seldom,
        priority=st.sampled_from((None, None, None, 0, 2, 9)),
        mode=st.sampled_from((None, None, 1, 2)),
        size=st.sampled_from((0, 0, 0, 600, 9000)),
        count=st.sampled_from((1, 1, 2, 3, 15)),
    )


declare_queue = call(
    "queue_declare",
    queue=st.sampled_from(QUEUES),
    durable=seldom,
    auto_delete=seldom,
    exclusive=seldom,
    arguments=queue_arguments,
)
declare_exchange = call(
    "exchange_declare",
    exchange=exchanges,
    exchange_type=kinds,
    durable=seldom,
    auto_delete=seldom,
    internal=st.sampled_from((False,) * 9 + (True,)),
    arguments=st.sampled_from(({}, {}, {"alternate-exchange": "e3"})),
)
settle = st.builds(
    Settle,
    st.integers(0, 20),
    st.sampled_from(("ack", "ack", "nack", "reject")),
    multiple=booleans,
    requeue=booleans,
)
#: Strategy and weight.
WEIGHTED: list[tuple[st.SearchStrategy[Any], int]] = [
    (publish(st.just(""), queues), 8),
    (publish(any_exchanges, keys), 6),
    (st.builds(Get, queues, booleans), 5),
    (st.builds(Consume, queues, tags, auto_ack=booleans, exclusive=seldom), 6),
    (settle, 9),
    (st.builds(Cancel, tags), 2),
    (st.builds(Qos, st.integers(0, 3), shared=seldom), 2),
    (st.builds(Recover), 1),
    (st.builds(SettleUnknown, st.sampled_from(("ack", "nack", "reject")), st.sampled_from((0, 999))), 1),
    (st.builds(Confirm), 1),
    (st.builds(Transaction, st.sampled_from(("select", "commit", "commit", "rollback"))), 2),
    (st.builds(CloseChannel), 2),
    (st.builds(CloseConnection), 1),
    (declare_queue, 3),
    (call("queue_delete", queue=queues, if_unused=seldom, if_empty=seldom), 1),
    (call("queue_purge", queue=queues), 1),
    (call("queue_bind", queue=queues, exchange=any_exchanges, routing_key=keys), 3),
    (call("queue_unbind", queue=queues, exchange=any_exchanges, routing_key=keys), 1),
    (declare_exchange, 2),
    (call("exchange_delete", exchange=any_exchanges, if_unused=booleans), 1),
    (call("exchange_bind", destination=exchanges, source=any_exchanges, routing_key=keys), 2),
    (call("exchange_unbind", destination=exchanges, source=any_exchanges, routing_key=keys), 1),
]
operations: st.SearchStrategy[Any] = st.sampled_from(
    [strategy for strategy, weight in WEIGHTED for _ in range(weight)]
).flatmap(lambda strategy: strategy)

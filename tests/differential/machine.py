"""The same random operations on a RabbitMQ and on haypile, compared after every step.

Owns: what is compared: replies, deliveries, returned messages, cancelled consumers, what is held, the counts of
every queue, and at the end what is left in them.
Must not know: how either side is reached (``side``), which operations there are (``operations``).

One rule draws all operations: hypothesis would switch rules off at random, and most need each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pika
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.differential import operations as ops
from tests.differential.side import Channel, Held, Side

#: Connections, and channels of each.
SIZE = 2


class Differential(RuleBasedStateMachine):
    """Drives both sides. ``make_sides`` gives (RabbitMQ, haypile), set by the test."""

    make_sides: Callable[[], tuple[Side, Side]]

    def __init__(self) -> None:
        super().__init__()
        self.right, self.ours = type(self).make_sides()
        self.sides = (self.right, self.ours)
        #: Queues that are there, and for a moment those that may be.
        self.known: set[str] = set()
        #: Those that only one connection may look at, and which.
        self.exclusive: dict[str, int] = {}

    # -- doing and comparing ---------------------------------------------------------------------------------

    def both(self, where: ops.Where, operation: Callable[[Channel], Any]) -> None:
        """Do it on both sides, compare the replies, let all come to rest, compare everything else."""
        replies = [side.do(where, operation) for side in self.sides]
        published = max(side.published for side in self.sides)  # a refused burst ends sooner here than there
        for side in self.sides:
            side.published = published
        self._same("reply", replies)
        self.compare()

    def compare(self) -> None:
        """Everything that can be seen, once nothing moves."""
        self._look_for_queues()
        visible = sorted(self.known - self.exclusive.keys())
        counts = [side.quiet(visible) for side in self.sides]
        self._same("deliveries", [side.arrived() for side in self.sides])
        self._same("events", [side.events() for side in self.sides])
        self._same("open channels", [sorted(side.channels) for side in self.sides])
        self._same("counts", counts)
        self._same("held", [side.held() for side in self.sides])

    def _same(self, what: str, seen: list[Any]) -> None:
        assert seen[0] == seen[1], f"{what}\nRabbitMQ: {seen[0]}\nhaypile:  {seen[1]}"

    def _look_for_queues(self) -> None:
        """Which of our queues exist, by asking: some go by themselves."""
        found = [{queue for queue in self.known if _exists(side, queue)} for side in self.sides]
        self._same("queues", found)
        self.known = found[0]
        self.exclusive = {name: owner for name, owner in self.exclusive.items() if name in self.known}

    # -- steps -----------------------------------------------------------------------------------------------

    @initialize(
        arguments=st.tuples(ops.queue_arguments, ops.queue_arguments),
        kinds=st.tuples(ops.kinds, ops.kinds),
        bindings=st.lists(st.tuples(st.sampled_from(("q1", "q2")), ops.exchanges, ops.keys), max_size=4),
    )
    def begin(self, arguments: tuple[Any, ...], kinds: tuple[str, ...], bindings: list[tuple[str, str, str]]) -> None:
        """Something to work with, so that not all is refused."""
        for queue, given in zip(("q1", "q2"), arguments, strict=True):
            self._declaring(queue, given)
            self.both((0, 0), ops.Call("queue_declare", {"queue": queue, "arguments": given}).do)
        steps = []
        for exchange, kind in zip(("e1", "e2"), kinds, strict=True):
            steps.append(ops.Call("exchange_declare", {"exchange": exchange, "exchange_type": kind}))
        for queue, exchange, key in bindings:
            place = {"queue": queue, "exchange": exchange, "routing_key": key}
            steps.append(ops.Call("queue_bind", place))
        for step in steps:
            self.both((0, 0), step.do)

    @rule(where=ops.wheres, operation=ops.operations)
    def step(self, where: ops.Where, operation: Any) -> None:
        """One operation on one channel."""
        if isinstance(operation, ops.CloseChannel):
            self._close_channel(where)
        elif isinstance(operation, ops.CloseConnection):
            self._close_connection(where[0])
        elif isinstance(operation, ops.Settle):
            self._settle(operation)
        else:
            for side in self.sides:
                side.channel(where)  # opened again now, if need be
            self._note_queue(where, operation)
            if not operation.skipped(self.right, where):
                self.both(where, operation.do)

    def _note_queue(self, where: ops.Where, operation: Any) -> None:
        if isinstance(operation, ops.Call) and operation.name == "queue_declare":
            queue = operation.arguments["queue"]
            if queue not in self.known and operation.arguments["exclusive"]:
                self.exclusive[queue] = where[0]
            self._declaring(queue, operation.arguments["arguments"])

    def _declaring(self, queue: str, arguments: dict[str, Any]) -> None:
        if queue not in self.known:
            self.right.limited.discard(queue)
            if "x-max-length" in arguments:
                self.right.limited.add(queue)
        self.known.add(queue)

    def _close_channel(self, where: ops.Where) -> None:
        for side in self.sides:
            side.close_channel(where)
        self.compare()

    def _close_connection(self, connection: int) -> None:
        """At most one of its channels holds messages then: which gives its own back first is up to chance.

        And no other one consumes: RabbitMQ may hand it what was given back, which ends with an auto-ack consumer
        that is closing. haypile puts everything back into its queue.
        """
        holding = sorted(where for where in self.right.held() if where[0] == connection)
        for where in sorted(self.right.channels):
            consumes = self.right.channels[where].impl.consumer_tags if where in self.right.channels else ()
            if where[0] == connection and holding and where != holding[0] and (where in holding or consumes):
                self._close_channel(where)
        for side in self.sides:
            side.close_connection(connection)
        self.exclusive = {name: owner for name, owner in self.exclusive.items() if owner != connection}
        self.compare()

    def _settle(self, operation: ops.Settle) -> None:
        held = sorted((where, message) for where, found in self.right.held().items() for message in found)
        if not held:
            return
        where, message = held[operation.which % len(held)]
        settled: set[Held] = {message}
        if operation.multiple and operation.how != "reject":
            up_to = [side.channel(where).up_to(message) for side in self.sides]
            if up_to[0] != up_to[1]:
                return  # two queues, and another one was faster here than there
            settled = up_to[0]
        self.both(where, partial(operation.do_with, message=message, settled=settled))

    def teardown(self) -> None:
        """At the end all comes back, and is compared."""
        try:
            for connection in range(SIZE):
                self._close_connection(connection)
            left = [side.drain(sorted(self.known)) for side in self.sides]
            self._same("left in the queues", left)
        finally:
            for side in self.sides:
                side.close(ops.QUEUES, ops.EXCHANGES)


def _exists(side: Side, queue: str) -> bool:
    with side.watcher.channel() as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return bool(error.reply_code == 405)
    return True

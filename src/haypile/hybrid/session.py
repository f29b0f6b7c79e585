"""A session over two worlds: each AMQP method goes to the side where its name lives.

Owns: which side a method is for, joining what comes back, and what a channel sees of a lost RabbitMQ.
Must not know: pika's classes, event loops (``remote`` has its connection, the wire the loop), tags (``channel``).

To the wire it is a ``broker.session.Session``; under it are one such session and, from the first method that needs
it, a connection to each RabbitMQ. A channel is opened there by the first method that goes there.

* Replies to what this module asks by itself are taken by ``expected``, in order, and never go up.
* A lost RabbitMQ closes the channels that used it, with 404 as RabbitMQ has it for a queue whose node is down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pika import spec

from haypile.broker.ports import Content, Outbox, VhostTarget
from haypile.broker.session import Session
from haypile.broker.vhost import Vhost
from haypile.hybrid import crossing, ending, publishing
from haypile.hybrid.channel import Channel, Side
from haypile.hybrid.remote import Connector, Remote
from haypile.links.runner import Host
from haypile.routes import Routes

Then = Callable[[], None]
Basic, Queue, Exchange = spec.Basic, spec.Queue, spec.Exchange
#: Methods that name a queue, and methods that name an exchange.
_OF_QUEUE = (Queue.Declare, Queue.Delete, Queue.Purge, Basic.Get, Basic.Consume)
_OF_EXCHANGE = (Exchange.Declare, Exchange.Delete)
_BINDINGS = (Queue.Bind, Queue.Unbind, Exchange.Bind, Exchange.Unbind)


class LocalSide:
    """The outbox of the session of this host."""

    def __init__(self, owner: HybridSession, outbox: Outbox) -> None:
        self.owner = owner
        self.watch, self.unwatch, self.call_at, self.soon = (
            outbox.watch,
            outbox.unwatch,
            outbox.call_at,
            outbox.soon,
        )

    def method(self, channel: int, method: Any) -> None:
        """See ``broker.ports.Outbox``."""
        self.owner.take(None, channel, method, None, None)

    def contents(self, channel: int, batch: Sequence[Content]) -> None:
        """See ``broker.ports.Outbox``."""
        for method, properties, body in batch:
            self.owner.take(None, channel, method, properties, body)


class HybridSession:
    """See ``broker.session.Session`` for what the wire calls."""

    #: Of the session here.
    vhost: Vhost
    pressure: Any
    pump: Any
    before_sleep: Any
    on_ready: Any
    on_timer: Any

    def __init__(self, target: VhostTarget, outbox: Outbox, routes: Routes, connector: Connector) -> None:
        self.outbox = outbox
        self.routes = routes
        self.connector = connector
        self.site = crossing.site(target, routes)
        self.remotes: dict[str, Remote] = {}
        self.channels: dict[int, Channel] = {}
        self.expected: dict[tuple[Side, int], deque[tuple[type, Then | None]]] = {}
        self.host: Host | None = None
        self.local: Session = None  # type: ignore[assignment]  # ``open`` has it
        self.ended_by_remote = False

    @classmethod
    def open(
        cls, target: VhostTarget, outbox: Outbox, routes: Routes, connector: Connector, **options: Any
    ) -> HybridSession:
        """Join the vhost. Raises as ``Session.open`` does."""
        session = cls(target, outbox, routes, connector)
        session.local = local = Session.open(target, LocalSide(session, outbox), **options)
        session.pressure, session.pump, session.before_sleep = local.pressure, local.pump, local.before_sleep
        session.on_ready, session.on_timer, session.vhost = local.on_ready, local.on_timer, local.vhost
        if crossing.has_work(session.site, routes):
            session.need_links()
        return session

    # -- as a Session -----------------------------------------------------------------------

    def close(self) -> None:
        """Both sides."""
        self.leave_remotes()
        self.local.close()

    def abandon(self) -> None:
        """Both sides. See ``Session.abandon``."""
        self.leave_remotes()
        self.local.abandon()

    def leave_remotes(self) -> None:
        """The other side. Idempotent."""
        for remote in self.remotes.values():
            remote.close()
        host, self.host = self.host, None
        if host is not None and self.local.offload is not None:
            # The last to leave waits for the links' thread.
            self.local.offload(host.leave, lambda error: None)
        elif host is not None:
            host.leave()

    @property
    def connecting(self) -> bool:
        """Something waits for the connection to a RabbitMQ."""
        return any(remote.connecting and self.users(remote.name) for remote in self.remotes.values())

    @property
    def fresh(self) -> bool:
        """Something was sent to a RabbitMQ since the loop last turned, or waits for its connection."""
        return self.connecting or any(remote.fresh for remote in self.remotes.values())

    def flushed(self) -> None:
        """The loop turned."""
        for remote in self.remotes.values():
            remote.fresh = False

    def need_links(self) -> None:
        """Have a thread of this process run the links of this vhost, if no other process does."""
        if self.host is None:
            self.host = Host.join(self.site)
            for plan in (*crossing.outboxes(self.routes), *self.routes.links):
                self.host.runner.add(plan)

    # -- down -------------------------------------------------------------------------------

    def handle(self, number: int, method: Any, properties: Any = None, body: bytes = b"") -> None:
        """One method of the program."""
        if method.__class__ is Basic.Publish:
            publishing.publish(self, self.channels[number], method, properties, body)
        elif number == 0:
            if isinstance(method, spec.Connection.Close):
                ending.goodbye(self, method)
            elif not (self.ended_by_remote and isinstance(method, spec.Connection.CloseOk)):
                self.local.handle(number, method)
        elif isinstance(method, spec.Channel.Open):
            self.channels[number] = Channel(number)
            self.local.handle(number, method)
        else:
            channel = self.channels.get(number)
            if channel is None:
                self.local.handle(number, method)
            elif channel.closed_by is not False:
                ending.while_closing(self, channel, method)
            else:
                self._handle(channel, method)

    def _handle(self, channel: Channel, method: Any) -> None:
        if isinstance(method, (Basic.Ack, Basic.Nack, Basic.Reject)):
            self._settle(channel, method)
        elif isinstance(method, _OF_QUEUE):
            self._about_queue(channel, method)
        elif isinstance(method, _OF_EXCHANGE):
            self.send(channel, self.side_of("exchange", method.exchange), method)
        elif isinstance(method, _BINDINGS):
            crossing.bind(self, channel, method)
        elif isinstance(method, Basic.Cancel):
            self.send(channel, channel.consumers.get(method.consumer_tag, (None, False))[0], method)
        elif isinstance(method, spec.Channel.Close):
            ending.close(self, channel, method)
        else:
            self._of_channel(channel, method)

    def _about_queue(self, channel: Channel, method: Any) -> None:
        side = self.queue_side(channel, method.queue)
        if isinstance(method, Basic.Get):
            channel.getting = bool(method.no_ack)
        elif isinstance(method, Queue.Declare):
            channel.last = side
        elif isinstance(method, Basic.Consume) and method.consumer_tag:
            known = channel.consumers.get(method.consumer_tag)
            if known is not None and known[0] != side:
                text = f"NOT_ALLOWED - attempt to reuse consumer tag '{method.consumer_tag}'"
                ending.end_connection(self, spec.NOT_ALLOWED, text, method)
                return
            channel.consumers[method.consumer_tag] = (side, bool(method.no_ack))
        self.send(channel, side, method)

    def _of_channel(self, channel: Channel, method: Any) -> None:
        """A method for the channel as a whole."""
        replies: tuple[type, ...] = ()
        if isinstance(method, Basic.Qos):
            channel.qos[bool(method.global_qos)] = method
            replies = (Basic.QosOk,)
        elif isinstance(method, spec.Confirm.Select):
            channel.confirming = True
            replies = (spec.Confirm.SelectOk,)
        elif isinstance(method, Basic.Recover):
            channel.forget_deliveries()
            replies = (Basic.RecoverOk,)
        elif isinstance(method, spec.Tx.Select):
            if channel.remotes:
                ending.fail(self, channel, spec.PRECONDITION_FAILED, self._no_tx(channel.remotes[0]), method)
                return
            channel.transactional = True
        if not replies:
            self.local.handle(channel.number, method)
            return
        # The reply of this host goes up when all have replied.
        left = len(channel.remotes)

        def replied() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self.local.handle(channel.number, method)

        for remote in list(channel.remotes):
            self.ask(channel, remote, method, replies[0], replied)
        if not channel.remotes:
            self.local.handle(channel.number, method)

    def _no_tx(self, remote: str) -> str:
        return f"PRECONDITION_FAILED - a transaction cannot span this host and RabbitMQ '{remote}'"

    def _settle(self, channel: Channel, method: Any) -> None:
        multiple = bool(getattr(method, "multiple", False))
        found = channel.settle(method.delivery_tag, multiple)
        if found is None:
            text = f"PRECONDITION_FAILED - unknown delivery tag {method.delivery_tag}"
            ending.fail(self, channel, spec.PRECONDITION_FAILED, text, method)
            return
        for side, tag in found:
            method.delivery_tag = tag
            self.send(channel, side, method)

    # -- sides ------------------------------------------------------------------------------

    def side_of(self, kind: str, name: str) -> Side:
        """Where queue or exchange ``name`` lives."""
        rule = self.routes.rule_for(kind, name)
        return None if rule is None else rule.to

    def queue_side(self, channel: Channel, name: str) -> Side:
        """Where queue ``name`` lives; an empty one is the channel's last."""
        return self.side_of("queue", name) if name else channel.last

    def send(self, channel: Channel, side: Side, method: Any) -> None:
        """Pass ``method`` to ``side``; its reply goes up."""
        if side is None:
            self.local.handle(channel.number, method)
        elif self.join(channel, side, method):
            self.remotes[side].send(channel.number, method)

    def ask(self, channel: Channel, side: Side, method: Any, reply: type, then: Then | None = None) -> None:
        """Pass ``method`` to ``side``; its reply does not go up, ``then`` is called instead."""
        if side is not None and not self.join(channel, side, method):
            return
        self.expected.setdefault((side, channel.number), deque()).append((reply, then))
        if side is None:
            self.local.handle(channel.number, method)
        else:
            self.remotes[side].send(channel.number, method)

    def join(self, channel: Channel, side: str, method: Any) -> bool:
        """Have the channel open on ``side``; False: it is refused, and was closed."""
        if side in channel.remotes:
            return True
        if channel.transactional:
            ending.fail(self, channel, spec.PRECONDITION_FAILED, self._no_tx(side), method)
            return False
        remote = self.remotes.get(side)
        if remote is None or remote.lost:
            self.remotes[side] = Remote(side, self.connector, self.routes.parameters(side), self)
        channel.remotes.append(side)
        self.ask(channel, side, spec.Channel.Open(), spec.Channel.OpenOk)
        for qos in channel.qos.values():
            self.ask(channel, side, qos, Basic.QosOk)
        if channel.confirming:
            self.ask(channel, side, spec.Confirm.Select(), spec.Confirm.SelectOk)
        return True

    def users(self, side: str) -> list[Channel]:
        return [channel for channel in self.channels.values() if side in channel.remotes]

    # -- up ---------------------------------------------------------------------------------

    def take(self, side: Side, number: int, method: Any, properties: Any, body: bytes | None) -> None:
        """One method of a side."""
        expected = self.expected.get((side, number))
        if expected:
            kind, then = expected[0]
            if isinstance(method, kind):
                expected.popleft()
                if then is not None:
                    then()
                return
            if kind is spec.Channel.CloseOk:
                return  # whatever comes before the end is late
        channel = self.channels.get(number)
        if channel is not None and not self._translate(channel, side, method):
            return
        if body is None:
            self.outbox.method(number, method)
        else:
            self.outbox.contents(number, ((method, properties, body),))

    def _translate(self, channel: Channel, side: Side, method: Any) -> bool:
        """Make ``method`` one of the program's; False: nothing is left to say."""
        if isinstance(method, Basic.Deliver):
            no_ack = channel.consumers.get(method.consumer_tag, (side, False))[1]
            method.delivery_tag = channel.delivered(side, method.delivery_tag, no_ack)
        elif isinstance(method, (Basic.Ack, Basic.Nack)):
            for one in channel.confirmed(side, method):
                self.outbox.method(channel.number, one)
            return False
        elif isinstance(method, Basic.GetOk):
            method.delivery_tag = channel.delivered(side, method.delivery_tag, channel.getting)
        elif isinstance(method, Basic.ConsumeOk):
            channel.consumers.setdefault(method.consumer_tag, (side, False))
        elif isinstance(method, (Basic.CancelOk, Basic.Cancel)):
            channel.consumers.pop(method.consumer_tag, None)
        elif isinstance(method, Queue.DeclareOk):
            channel.last = side
        elif isinstance(method, spec.Channel.Close):
            ending.leave(self, channel, but=side)
            channel.closed_by = side
        elif isinstance(method, spec.Channel.CloseOk):
            self.channels.pop(channel.number, None)
        return True

    def on_lost(self, side: str, reason: str, close: Any) -> None:
        """A RabbitMQ is gone, or cannot be reached."""
        ending.lost(self, side, reason, close)

    def on_blocked(self, method: Any) -> None:
        """A RabbitMQ raised an alarm, or ended it."""
        self.outbox.method(0, method)

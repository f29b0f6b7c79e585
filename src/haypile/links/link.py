"""A link: takes from a queue at one end, publishes at the other, and acknowledges when that is confirmed.

Owns: what is in hand (taken and not yet confirmed), its order, and the acknowledgements.
Must not know: how ends connect (``end``), which of them is this host, files.

Invariants:

* ``hand`` is in the order of taking. A message leaves it, from its head, when the sink confirmed it, and is
  acknowledged to the source only then: in one acknowledgement for many.
* The sink's publishes are in that order, too. After a loss or a refusal all that is unconfirmed is published
  again, in order, and nothing newer before it.
* When the source is lost, what is in hand is forgotten: it will be delivered again. So duplicates are bounded by
  the window.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from pika import spec

from haypile.links import parcel
from haypile.links.end import Backoff, End, Opener
from haypile.links.plan import Plan

#: Links that a message passed.
HOPS = "x-haypile-hops"
#: Set on a message that may have been passed on before.
AGAIN = "x-haypile-redelivered"
#: Seconds for which confirmed messages may wait to be acknowledged together.
ACK_WAIT = 0.02
_Ack = spec.Basic.Ack


class Message:
    """One message in hand."""

    __slots__ = ("again", "body", "confirmed", "exchange", "key", "properties", "returned", "tag")

    def __init__(self, tag: int, exchange: str, key: str, properties: Any, body: bytes, again: bool) -> None:
        self.tag = tag
        self.exchange, self.key = exchange, key
        self.properties = properties
        self.body = body
        #: Whether it may have been passed on already.
        self.again = again
        self.returned = False
        self.confirmed = False


class Link:
    """One running link; all of it on the thread of ``loop``."""

    def __init__(self, plan: Plan, identity: str, loop: Any, source: Opener, sink: Opener, login: str | None) -> None:
        """``identity``: this link among all links anywhere. ``login``: the user at the sink, if it checks."""
        self.plan = plan
        self.identity = identity
        self.loop = loop
        self.login = login
        name = f"link {plan.name!r}"
        self.source = End(f"{name}, {plan.source}", loop, source, self._source_up, self._source_down)
        self.sink = End(f"{name}, {plan.sink}", loop, sink, self._sink_up, self._sink_down, self._sink_blocked)
        self.hand: deque[Message] = deque()
        self.unsent: deque[Message] = deque()
        self.sent: dict[int, Message] = {}
        self.published = 0
        #: A refusal is waited out.
        self.refusals = Backoff()
        self.refused: str | None = None
        self._refusal_timer: Any = None
        self._ready = False
        self._settled = 0
        self._ack_timer: Any = None
        self.moved = 0
        self.looped = 0
        self.stopping = False
        #: Messages that waited at the source at the last look, and when that was.
        self.waiting: int | None = None
        self.looked_at = 0.0

    def start(self) -> None:
        """Connect both ends and go on until ``stop``."""
        self.source.start()
        self.sink.start()

    def stop(self) -> None:
        """Acknowledge what is confirmed, and close. What is in hand goes back to its queue."""
        self.stopping = True
        self._acknowledge()
        self._forget_refusal()
        self._ready = False
        self.source.stop()
        self.sink.stop()

    @property
    def gone(self) -> bool:
        """After ``stop``: both ends are closed."""
        return self.source.gone and self.sink.gone

    @property
    def state(self) -> str:
        """One word."""
        if self.stopping:
            return "stopped"
        if self.source.trouble or self.sink.trouble:
            return "waiting"
        if self.source.channel is None or self.sink.channel is None:
            return "connecting"
        if self.sink.blocked:
            return "blocked"
        return "refused" if self.refused else "running"

    @property
    def trouble(self) -> str | None:
        """What is wrong now."""
        return self.sink.trouble or self.source.trouble or self.refused

    # -- the source -------------------------------------------------------------------------

    def _source_up(self, channel: Any) -> None:
        # Prefetch is the one bound of what is in hand.
        channel.basic_qos(prefetch_count=self.plan.window, callback=lambda _: self._consume(channel))

    def _consume(self, channel: Any) -> None:
        if channel is not self.source.channel:
            return  # it was closed, or failed, while this reply was under way
        if self.plan.parcels:
            # An outbox is there for whoever publishes first, and for us.
            channel.queue_declare(self.plan.source.queue, durable=True, callback=lambda _: None)
        channel.add_on_cancel_callback(lambda _: self.source.fail(f"{self.plan.source} was deleted"))
        channel.basic_consume(self.plan.source.queue, self._on_message, callback=lambda _: self.source.works())

    def _source_down(self, reason: str) -> None:
        # They will be delivered again; what comes then may be a duplicate and is marked so by the source.
        self.hand.clear()
        self.unsent.clear()
        self.sent.clear()
        self._settled = 0
        # Confirms of what was forgotten find nothing: numbers go on.

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if channel is not self.source.channel:
            return
        message = self._address(method, properties, body)
        if message is None:
            self.looped += 1
            message = Message(method.delivery_tag, "", "", None, b"", False)
            message.confirmed = True
            self.hand.append(message)
            self._settle()
            return
        self.hand.append(message)
        self.unsent.append(message)
        self._send()

    def _address(self, method: Any, properties: Any, body: bytes) -> Message | None:
        """The message as it goes on; None for one that was here before."""
        plan, sink = self.plan, self.plan.sink
        exchange, key = sink.exchange or "", method.routing_key
        if sink.queue is not None:
            key = sink.queue
        elif sink.routing_key is not None:
            key = sink.routing_key
        if plan.parcels:
            unpacked = parcel.unpack(properties)
            if unpacked is not None:
                exchange, key, properties = unpacked
        if plan.hops:
            headers = properties.headers = dict(properties.headers or {})
            hops = headers.get(HOPS)
            hops = hops if isinstance(hops, list) else []
            if self.identity in hops:
                return None
            headers[HOPS] = [*hops, self.identity]
        if properties.user_id is not None and self.login is not None and properties.user_id != self.login:
            # The RabbitMQ there would close the channel: only its own user may say who published.
            properties.headers = {**(properties.headers or {}), "x-haypile-user-id": properties.user_id}
            properties.user_id = None
        return Message(method.delivery_tag, exchange, key, properties, body, method.redelivered)

    # -- the sink ---------------------------------------------------------------------------

    def _sink_up(self, channel: Any) -> None:
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(lambda frame: self._on_confirm(channel, frame), lambda _: self._sink_ready(channel))

    def _sink_ready(self, channel: Any) -> None:
        if channel is not self.sink.channel:
            return
        self.published = 0
        self.sent.clear()
        self._rewind()

    def _rewind(self) -> None:
        """Publish all that is unconfirmed, in order."""
        self._forget_refusal()
        if self.sink.channel is None or self.stopping:
            return
        self._settle()
        if not self.hand:
            self.sink.works()
        fresh = set(map(id, self.unsent))
        self.unsent = deque(message for message in self.hand if not message.confirmed)
        for message in self.unsent:
            message.again = message.again or id(message) not in fresh
            message.returned = False
        self._ready = not self.sink.blocked
        self._send()

    def _forget_refusal(self) -> None:
        if self._refusal_timer is not None:
            self.loop.remove_timeout(self._refusal_timer)
            self._refusal_timer = None

    def _send(self) -> None:
        while self._ready and self.unsent:
            message = self.unsent.popleft()
            self.published += 1
            self.sent[self.published] = message
            properties = message.properties
            if message.again:
                properties.headers = {**(properties.headers or {}), AGAIN: True}
            self.sink.publish(message.exchange, message.key, properties, message.body)

    def _sink_down(self, reason: str) -> None:
        self._ready = False
        self._forget_refusal()
        self.sent.clear()

    def _sink_blocked(self, blocked: bool) -> None:
        self._ready = not blocked and self._refusal_timer is None
        self._send()

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """It went to no queue; its confirm follows."""
        if self.plan.unroutable == "drop":
            return
        for message in self.sent.values():
            if (
                not message.returned
                and message.body == body
                and (message.exchange, message.key) == (method.exchange, method.routing_key)
                and message.properties == properties
            ):
                message.returned = True
                where = f"exchange {method.exchange!r}" if method.exchange else "the default exchange"
                self._note_refusal(f"{method.reply_code} {method.reply_text}: {where}, key {method.routing_key!r}")
                return

    def _on_confirm(self, channel: Any, frame: Any) -> None:
        if channel is not self.sink.channel:
            return
        self.sink.works()
        method = frame.method
        accepted = method.__class__ is _Ack
        if method.multiple:
            tags = []
            for tag in self.sent:
                if tag > method.delivery_tag:
                    break
                tags.append(tag)
        else:
            tags = [method.delivery_tag]
        refused = False
        for tag in tags:
            message = self.sent.pop(tag, None)
            if message is None:
                continue
            if accepted and not message.returned:
                message.confirmed = True
            else:
                refused = True
        if refused:
            self._ready = False
            if not accepted:
                self._note_refusal("not accepted (basic.nack)")
        if self.refused is not None and not self._ready:
            # In order again: first all that is under way comes back, then the wait, then from the first refused.
            if not self.sent and self._refusal_timer is None:
                self._refusal_timer = self.loop.call_later(self.refusals.next(), self._rewind)
        else:
            self.refused = None
            self.refusals.reset()
        self._settle()

    def _note_refusal(self, text: str) -> None:
        if self.refused is None:
            self.sink.note(text)
        self.refused = text

    # -- acknowledgements -------------------------------------------------------------------

    def _settle(self) -> None:
        hand = self.hand
        while hand and hand[0].confirmed:
            self._settled = hand.popleft().tag
            self.moved += 1
        if not self._settled:
            return
        self.sink.works()
        if not hand or self._settled + self.plan.window // 4 <= hand[-1].tag:
            self._acknowledge()
        elif self._ack_timer is None:
            self._ack_timer = self.loop.call_later(ACK_WAIT, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack_timer is not None:
            self.loop.remove_timeout(self._ack_timer)
            self._ack_timer = None
        tag, self._settled = self._settled, 0
        channel = self.source.channel
        if tag and channel is not None and channel.is_open:
            channel.basic_ack(tag, multiple=True)

    # -- a look at the source ---------------------------------------------------------------

    def look(self) -> None:
        """Ask how many messages wait; ``waiting`` has the answer later."""

        def answered(frame: Any) -> None:
            self.waiting = frame.method.message_count
            self.looked_at = time.monotonic()

        channel = self.source.channel
        if channel is not None and channel.is_open and channel.consumer_tags:
            channel.queue_declare(self.plan.source.queue, passive=True, callback=answered)

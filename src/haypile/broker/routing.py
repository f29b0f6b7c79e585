"""Routing: from an exchange and routing keys to queues.

Owns: the walk through exchanges, the cache of routes, and which changes can touch which routes.
Must not know: rows, transactions.

Invariant: a cached route is dropped when, and only when, a change can reach it: of its exchange or
of one that its exchange leads to (bindings between exchanges, alternate exchanges), and then only
the routes of the one routing key concerned where the exchange type lets us tell it. Warm look-ups
take no lock; everything else runs under the topology's.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pika.spec import BasicProperties

from haypile.broker import texts
from haypile.broker.entities import Exchange, Queue, Route
from haypile.broker.errors import AccessRefused, NotFound
from haypile.broker.exchanges.base import Message
from haypile.broker.message import encode_prefix

#: Routes remembered per exchange; beyond it the exchange's cache starts anew.
ROUTES_KEPT = 16_384

Headers = dict[str, Any]


class Walk:
    """One message's way through exchanges: each is visited once."""

    __slots__ = ("by_key", "delays", "exchanges", "found", "histories", "keys", "message")

    def __init__(self, exchanges: dict[str, Exchange], keys: tuple[str, ...], message: Message) -> None:
        self.exchanges = exchanges
        self.keys = keys
        self.message = message
        #: Names of the queues reached.
        self.found: set[str] = set()
        #: Whether keys alone decided.
        self.by_key = True
        self.delays: list[tuple[str, int]] = []
        self.histories: list[tuple[str, int]] = []

    def go(self, start: Exchange) -> None:
        """Visit ``start`` and whatever it leads to."""
        pending, seen = [start], {start.name}
        while pending:
            for name in self._visit(pending.pop()):
                if name not in seen:
                    seen.add(name)
                    following = self.exchanges.get(name)
                    if following is not None:
                        pending.append(following)

    def _visit(self, exchange: Exchange) -> list[str]:
        """Take the queues it leads to; returns the exchanges."""
        router = exchange.router
        self.by_key = self.by_key and router.by_key
        if router.history:
            self.histories.append((exchange.name, router.history))
        onward: list[str] = []
        matched = False
        delay = router.delay(self.message)
        if delay:
            self.delays.append((exchange.name, delay))
        else:
            for is_queue, name in router.match(self.keys, self.message):
                matched = True
                if is_queue:
                    self.found.add(name)
                else:
                    onward.append(name)
        if not matched and exchange.alternate is not None:
            onward.append(exchange.alternate)
        return onward


class Routes:
    """The routes of a vhost."""

    def __init__(
        self, vhost: str, exchanges: dict[str, Exchange], queues: dict[str, Queue], lock: threading.RLock
    ) -> None:
        self._vhost = vhost
        self._exchanges = exchanges
        self._queues = queues
        self._lock = lock
        #: Moves when a cached route was dropped.
        self.epoch = 0
        self._known: dict[str, dict[str, Route]] = {}
        #: Exchange: the exchanges that lead to it, and by how many ways.
        self._feeders: dict[str, dict[str, int]] = {}

    # -- finding --------------------------------------------------------------------------------

    def route(
        self,
        exchange: str,
        routing_key: str,
        headers: Headers | None = None,
        more_keys: Sequence[str] = (),
        properties: BasicProperties | None = None,
    ) -> Route:
        """Where a message published to ``exchange`` goes.

        ``more_keys`` are those of CC and BCC. ``properties`` matter only to a consistent hash
        exchange that hashes one of them. Raises NotFound (404) when there is no such exchange,
        AccessRefused (403) when it is internal.
        """
        if not more_keys:
            known = self._known.get(exchange)
            if known is not None:
                route = known.get(routing_key)
                if route is not None:
                    return route
        found = self._exchanges.get(exchange)
        if found is None:
            raise NotFound(texts.missing(texts.exchange(exchange, self._vhost)))
        if found.internal:
            raise AccessRefused(texts.internal_exchange(texts.exchange(exchange, self._vhost)))
        return self._find(found, (routing_key, *more_keys), Message(headers, properties))

    def forward(
        self,
        exchange: str,
        routing_key: str,
        headers: Headers | None = None,
        more_keys: Sequence[str] = (),
        properties: BasicProperties | None = None,
    ) -> Route | None:
        """As ``route``, for the broker itself (dead letters): internal exchanges too.

        None when there is no such exchange.
        """
        found = self._exchanges.get(exchange)
        if found is None:
            return None
        return self._find(found, (routing_key, *more_keys), Message(headers, properties))

    def _find(self, exchange: Exchange, keys: tuple[str, ...], message: Message) -> Route:
        name = exchange.name
        with self._lock:
            walk = Walk(self._exchanges, keys, message)
            if name:
                walk.go(exchange)
            else:
                walk.found.update(keys)
            queues = self._queues
            # An internal exchange's routes are not kept: the warm path does not ask who publishes.
            lasting = walk.by_key and len(keys) == 1 and not exchange.internal
            route = Route(
                tuple(queues[queue] for queue in sorted(walk.found) if queue in queues),
                encode_prefix(name, keys[0]),
                lasting,
                tuple(walk.delays),
                tuple(walk.histories),
            )
            if lasting:
                known = self._known.setdefault(name, {})
                if len(known) >= ROUTES_KEPT:
                    known = self._known[name] = {}
                    self.epoch += 1
                known[keys[0]] = route
            return route

    # -- forgetting -----------------------------------------------------------------------------

    def feed(self, destination: str, source: str, step: int) -> None:
        """One way more (1) or less (-1) from exchange ``source`` to exchange ``destination``."""
        feeders = self._feeders.setdefault(destination, {})
        left = feeders[source] = feeders.get(source, 0) + step
        if left <= 0:
            del feeders[source]
            if not feeders:
                del self._feeders[destination]

    def drop(self, exchange: str, key: str | None) -> None:
        """What ``exchange`` leads to changed: for ``key`` alone, or (None) for any."""
        pending, seen = [exchange], {exchange}
        while pending:
            name = pending.pop()
            known = self._known.get(name)
            if known:
                if key is None:
                    self._known[name] = {}
                    self.epoch += 1
                elif known.pop(key, None) is not None:
                    self.epoch += 1
            for feeder in self._feeders.get(name, ()):
                if feeder not in seen:
                    seen.add(feeder)
                    pending.append(feeder)

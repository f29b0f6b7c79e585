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

from haypile.broker import texts
from haypile.broker.entities import Exchange, Queue, Route
from haypile.broker.errors import AccessRefused, NotFound
from haypile.broker.message import encode_prefix

#: Routes remembered per exchange; beyond it the exchange's cache starts anew.
ROUTES_KEPT = 16_384

Headers = dict[str, Any]


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
        self, exchange: str, routing_key: str, headers: Headers | None = None, more_keys: Sequence[str] = ()
    ) -> Route:
        """Where a message published to ``exchange`` goes; ``more_keys`` are those of CC and BCC.

        Raises NotFound (404) when there is no such exchange, AccessRefused (403) when it is
        internal.
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
        return self._find(found, routing_key, headers, more_keys)

    def forward(
        self, exchange: str, routing_key: str, headers: Headers | None = None, more_keys: Sequence[str] = ()
    ) -> Route | None:
        """As ``route``, for the broker itself (dead letters): internal exchanges too.

        None when there is no such exchange.
        """
        found = self._exchanges.get(exchange)
        return None if found is None else self._find(found, routing_key, headers, more_keys)

    def _find(self, exchange: Exchange, key: str, headers: Headers | None, more_keys: Sequence[str]) -> Route:
        name = exchange.name
        with self._lock:
            keys = (key, *more_keys)
            found, by_key = self._walk(exchange, keys, headers) if name else (set(keys), True)
            queues = self._queues
            # An internal exchange's routes are not kept: the warm path does not ask who publishes.
            lasting = by_key and not more_keys and not exchange.internal
            route = Route(
                tuple(queues[queue] for queue in sorted(found) if queue in queues),
                encode_prefix(name, key),
                lasting,
            )
            if lasting:
                known = self._known.setdefault(name, {})
                if len(known) >= ROUTES_KEPT:
                    known = self._known[name] = {}
                    self.epoch += 1
                known[key] = route
            return route

    def _walk(self, start: Exchange, keys: Sequence[str], headers: Headers | None) -> tuple[set[str], bool]:
        """Names of the queues reached, each exchange visited once, and whether keys alone decided."""
        found: set[str] = set()
        by_key = True
        pending, seen = [start], {start.name}
        while pending:
            exchange = pending.pop()
            by_key = by_key and exchange.router.by_key
            onward: list[str] = []
            matched = False
            for is_queue, name in exchange.router.match(keys, headers):
                matched = True
                if is_queue:
                    found.add(name)
                else:
                    onward.append(name)
            if not matched and exchange.alternate is not None:
                onward.append(exchange.alternate)
            for name in onward:
                if name not in seen:
                    seen.add(name)
                    following = self._exchanges.get(name)
                    if following is not None:
                        pending.append(following)
        return found, by_key

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

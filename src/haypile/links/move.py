"""Moving a queue: its messages go through a link until none is left.

Owns: when a queue is empty, and what of a topology belongs to a queue.
Must not know: how links pass messages on, the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop

from haypile.definitions import Contents
from haypile.links.end import Opener
from haypile.links.link import Link
from haypile.links.plan import Plan

#: Seconds between looks, and for which a queue must have been empty to be moved.
LOOK, EMPTY_FOR = 0.1, 0.5
GOODBYE = 3.0


def part_of(contents: Contents, queue: str) -> Contents:
    """What belongs to ``queue``: itself, its bindings, and the exchanges that lead to it, their bindings included.

    No queue: nothing.
    """
    part = Contents()
    part.queues = [one for one in contents.queues if one["name"] == queue]
    wanted: set[str] = set()
    seen: list[dict[str, Any]] = []
    kind, names = "queue", {queue}
    while names:
        feeding = [
            one
            for one in contents.bindings
            if one["destination"] in names and one.get("destination_type", "queue") == kind and one["source"]
        ]
        seen += feeding
        kind, names = "exchange", {one["source"] for one in feeding} - wanted
        wanted |= names
    part.bindings = [one for one in contents.bindings if one in seen]
    part.exchanges = [one for one in contents.exchanges if one["name"] in wanted]
    return part


class Move:
    """One queue on its way."""

    def __init__(self, plan: Plan, source: Opener, sink: Opener, on_progress: Callable[[int, int], None]) -> None:
        """``on_progress(moved, left)`` is called all the time."""
        self.loop = IOLoop()
        self.link = Link(plan, "", self.loop, source, sink, None)
        self.on_progress = on_progress
        self.follow = False
        self.since = 0.0
        self._ended = self._stopping = False

    def run(self, follow: bool = False) -> int:
        """Until the queue has been empty for a moment (``follow``: until ``stop``); returns how many were moved."""
        self.follow = follow
        self.link.start()
        self._look()
        try:
            self.loop.start()
        finally:
            self.loop.close()
        return self.link.moved

    def stop(self) -> None:
        """From any thread or signal handler: soon."""
        # The loop's own way to be woken takes a lock, which the thread that a signal interrupts may hold.
        self._stopping = True

    def _look(self) -> None:
        if self._stopping:
            self._end()
        if self._ended:
            return
        link, now = self.link, time.monotonic()
        left = (link.waiting or 0) + len(link.hand)
        self.on_progress(link.moved, left)
        if link.state != "running" or left or link.waiting is None:
            self.since = now
        elif now - self.since > EMPTY_FOR and link.looked_at > self.since and not self.follow:
            self._end()
            return
        link.look()
        self.loop.call_later(LOOK, self._look)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.link.stop()
        deadline = time.monotonic() + GOODBYE

        def leave() -> None:
            if self.link.gone or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.call_later(0.01, leave)

        leave()

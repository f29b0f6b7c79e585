"""pika's select loop under a blocking connection.

Owns: its turns, how it is woken, and a connection's opening on it.
Must not know: what is waited for.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from pika.adapters import blocking_connection, select_connection
from pika.adapters.utils import connection_workflow

_LOGGER: logging.Logger = blocking_connection.LOGGER

#: What epoll is asked for by ``watch_in_turn``; 0: it cannot be.
_IN_TURN = select.EPOLLIN | select.EPOLLEXCLUSIVE if hasattr(select, "EPOLLEXCLUSIVE") else 0


class Turning:
    """Turns of pika's select loop, of which there is one for each wait."""

    __slots__ = ("_loop", "_poller", "_polls", "_timer")

    def __init__(self, connection: Any) -> None:
        self._loop = connection.ioloop
        self._poller, self._timer = self._loop._poller, self._loop._timer
        #: It waits by poll(2) or epoll(7).
        self._polls = isinstance(self._poller, select_connection.PollPoller)

    def turn(self, block: bool = True) -> bool:
        """Wait for a descriptor, a timer or a callback. Whether a descriptor was ready.

        Unless ``block``, descriptors are looked at and nothing else. Mostly one is ready, and only its handler is to be
        called.
        """
        loop, poller = self._loop, self._poller
        poll = poller._poll if self._polls else None
        if poll is None:
            if block:
                loop.poll()
                loop.process_timeouts()
            return False
        wait = 0.0
        if block and not loop._callbacks:
            wait, timeouts = poller._MAX_POLL_TIMEOUT, self._timer._timeout_heap
            if timeouts:
                wait = min(max(timeouts[0].deadline - monotonic(), 0.0), wait)
            wait *= poller.POLL_TIMEOUT_MULT
        events = poll.poll(wait)
        if len(events) == 1:
            fd, happened = events[0]
            handler = poller._fd_handlers.get(fd)
            if handler is not None:
                handler(fd, happened)
        elif events:
            poller._dispatch_fd_events(dict(events))
        elif not block:
            return False
        timeouts = self._timer._timeout_heap
        if loop._callbacks or (timeouts and timeouts[0].deadline <= monotonic()):
            loop.process_timeouts()
        return bool(events)


class Poller(select_connection.EPollPoller):  # type: ignore[misc]
    """pika's, to be woken through a pair of sockets that needs no port and no network."""

    @staticmethod
    def _get_interrupt_pair() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for one in pair:
            one.setblocking(False)
        return pair


class Loop(select_connection.IOLoop):  # type: ignore[misc]
    """pika's select loop, under a blocking connection to this host."""

    @staticmethod
    def _get_poller(get_wait_seconds: Callable[[], float | None], process_timeouts: Callable[[], None]) -> Any:
        if select_connection.SELECT_TYPE in (None, "epoll") and hasattr(select, "epoll"):
            return Poller(get_wait_seconds, process_timeouts)
        return select_connection.IOLoop._get_poller(get_wait_seconds, process_timeouts)


def open_here(make: Callable[..., Any], loop: Any, stack_timeout: float | None) -> Any:
    """The connection that ``make`` makes on ``loop``, open. Raises what pika's workflow would raise in the end."""
    outcome: list[BaseException | None] = []
    late: list[BaseException] = []
    connection = make(
        on_open_callback=lambda connection: outcome.append(None),
        on_open_error_callback=lambda connection, error: outcome.extend(late or [error]),
        custom_ioloop=loop,
        internal_connection_workflow=False,
    )

    def too_late() -> None:
        text = f"Timeout while setting up AMQP to {connection.params.host!r}"
        late.append(connection_workflow.AMQPConnectorStackTimeout(text))
        if not connection.is_closing:
            connection.close(320, text)

    limit = None if stack_timeout is None else loop.call_later(stack_timeout, too_late)
    connection.connect()
    while not outcome:
        loop.poll()
        loop.process_timeouts()
    if outcome[0] is not None:
        _LOGGER.error("Connection failed: %r", outcome[0])
        raise outcome[0]
    if limit is not None:
        loop.remove_timeout(limit)
    return connection


def watch_in_turn(loop: Any, fd: int, handler: Callable[[int, int], None]) -> None:
    """Have pika's select loop call ``handler`` whenever ``fd`` is readable; and not every loop that watches it so.

    The kernel wakes one of those that sleep, the one that called this longest ago. Loops without epoll are all woken.
    """
    poller = loop._poller
    if fd not in poller._fd_handlers:
        poller.add_handler(fd, handler, loop.READ)
    if isinstance(poller, select_connection.EPollPoller) and poller._poll is not None and _IN_TURN:
        poller._poll.unregister(fd)
        try:
            poller._poll.register(fd, _IN_TURN)
        except OSError:  # a kernel that does not know it
            poller._poll.register(fd, loop.READ)

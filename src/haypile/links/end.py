"""One end of a link: a connection that is opened again for as long as the link runs.

Owns: connecting, its backoff with jitter, blocked and lost connections, and saying each trouble once.
Must not know: messages.

``opener`` is given by whoever knows the fronts; an end speaks pika's public API only.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from typing import Any

from pika import exceptions

LOGGER = logging.getLogger("haypile")

#: Seconds before the first new attempt, and at most; the wait doubles with each that fails.
FIRST_WAIT, LONGEST_WAIT = 0.1, 15.0

#: Makes a pika connection from its callbacks: on_open, on_open_error, on_close.
Opener = Callable[..., Any]


class Backoff:
    """Growing waits with jitter: of many links whose RabbitMQ comes back, not all come at once."""

    def __init__(self) -> None:
        self.failures = 0

    def next(self) -> float:
        """Seconds to wait now."""
        wait: float = min(FIRST_WAIT * 2**self.failures, LONGEST_WAIT)
        self.failures = min(self.failures + 1, 30)
        return wait * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It works again."""
        self.failures = 0


def say(error: BaseException | str) -> str:
    """What happened, in one line and without a password."""
    nested = getattr(error, "exceptions", None) or getattr(error, "exception", None)
    if isinstance(nested, (list, tuple)) and nested:
        return say(nested[-1])
    if nested is None and isinstance(error, exceptions.AMQPConnectionError) and error.args:
        nested = error.args[0]
    if isinstance(nested, BaseException):
        return say(nested)
    if isinstance(error, (exceptions.ChannelClosed, exceptions.ConnectionClosed)):
        text = f"{error.reply_code} {error.reply_text}"
    else:
        text = str(error) or type(error).__name__
    return re.sub(r"//[^/@\s]*@", "//", " ".join(text.split()))[:500]


class End:
    """A connection with one channel, there or coming."""

    def __init__(
        self,
        name: str,
        loop: Any,
        opener: Opener,
        on_up: Callable[[Any], None],
        on_down: Callable[[str], None],
        on_blocked: Callable[[bool], None] = lambda blocked: None,
    ) -> None:
        """``on_up(channel)`` and ``on_down(reason)`` take turns, on_up first."""
        self.name = name
        self.loop = loop
        self.opener = opener
        self.on_up, self.on_down, self.on_blocked = on_up, on_down, on_blocked
        self.backoff = Backoff()
        self.connection: Any = None
        self.channel: Any = None
        self.trouble: str | None = None
        self.blocked = False
        self.stopped = False
        self._timer: Any = None
        self._said: str | None = None

    def start(self) -> None:
        """Connect."""
        self._timer = None
        if self.stopped:
            return
        try:
            self.connection = connection = self.opener(
                on_open_callback=self._opened,
                on_open_error_callback=self._ended,
                on_close_callback=self._ended,
                custom_ioloop=self.loop,
            )
        except (exceptions.AMQPError, OSError, ValueError) as error:
            self.connection = None
            self._again(say(error))
            return
        connection.add_on_connection_blocked_callback(lambda *_: self._block(connection, True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._block(connection, False))

    def _opened(self, connection: Any) -> None:
        if connection is self.connection and not self.stopped:
            connection.channel(on_open_callback=self._channel_opened)
        else:
            self._close(connection)

    def _channel_opened(self, channel: Any) -> None:
        if channel.connection is not self.connection or self.stopped:
            return
        self.channel = channel
        channel.add_on_close_callback(self._channel_closed)
        self.on_up(channel)

    def publish(self, exchange: str, routing_key: str, properties: Any, body: bytes) -> None:
        """A mandatory publish on the channel, the short way where there is one (``wires.burst``)."""
        channel = self.channel
        quick = getattr(channel.connection, "publish", None)
        if quick is None or not quick(channel, exchange, routing_key, properties, body):
            channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)

    def works(self) -> None:
        """A message went through: the trouble is over."""
        if self.trouble is not None or self.backoff.failures:
            if self._said is not None:
                LOGGER.info("%s: works again", self.name)
            self.trouble = self._said = None
            self.backoff.reset()

    def note(self, reason: str) -> None:
        """Something is refused; the connection stays."""
        LOGGER.warning("%s: %s; trying again, at most every %g s", self.name, reason, LONGEST_WAIT)

    def fail(self, reason: str) -> None:
        """It does not do what it should: close it, and try again later."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._lost(reason)
            self._close(connection)
            self._again(reason)

    def _channel_closed(self, channel: Any, error: BaseException) -> None:
        if channel is self.channel and channel.connection is self.connection and channel.connection.is_open:
            self.fail(say(error))

    def _ended(self, connection: Any, error: BaseException) -> None:
        if connection is self.connection:
            self.connection = None
            reason = say(error)
            self._lost(reason)
            self._again(reason)

    def _lost(self, reason: str) -> None:
        channel, self.channel = self.channel, None
        self.blocked = False
        if channel is not None and not self.stopped:
            self.on_down(reason)

    def _again(self, reason: str) -> None:
        if self.stopped or self._timer is not None:
            return
        self.trouble = reason
        wait = self.backoff.next()
        # The same trouble is said once; what differs only in its numbers is the same.
        kind = re.sub(r"\d+", "", reason)
        level = logging.DEBUG if self._said == kind else logging.WARNING
        LOGGER.log(level, "%s: %s; trying again, at most every %g s", self.name, reason, LONGEST_WAIT)
        self._said = kind
        self._timer = self.loop.call_later(wait, self.start)

    def _block(self, connection: Any, blocked: bool) -> None:
        if connection is self.connection:
            self.blocked = blocked
            if blocked:
                LOGGER.warning("%s: blocked by its memory or disk alarm; going on when that is over", self.name)
            else:
                LOGGER.info("%s: unblocked, going on", self.name)
            self.on_blocked(blocked)

    def stop(self) -> None:
        """Close, and stay so."""
        self.stopped = True
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
            self._timer = None
        connection, self.channel = self.connection, None
        if connection is not None:
            self._close(connection)

    @property
    def gone(self) -> bool:
        """After ``stop``: nothing is left."""
        return self.connection is None or self.connection.is_closed

    def _close(self, connection: Any) -> None:
        if connection.is_open:
            connection.close()

"""The RabbitMQ side of a hybrid connection: AMQP methods down, AMQP methods up.

Owns: pika's own connection to one RabbitMQ, in the loop of the program's connection; what waits until it is up;
putting frames together.
Must not know: channels' state, routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pika import exceptions, frame, spec

from haypile.links.end import say

#: Makes a pika connection in the loop of the program's: parameters, what takes its frames, callbacks.
Connector = Callable[..., Any]


class Taker(Protocol):
    """Who uses a remote: ``hybrid.session``."""

    def take(self, side: str, number: int, method: Any, properties: Any, body: bytes | None) -> None: ...
    def on_lost(self, side: str, reason: str, close: Any) -> None: ...
    def on_blocked(self, method: Any) -> None: ...


class Remote:
    """One RabbitMQ; ``lost`` once it went, then a new one is made."""

    def __init__(self, name: str, connector: Connector, parameters: Any, taker: Taker) -> None:
        self.name = name
        self.taker = taker
        self.open = self.lost = False
        #: Something was sent since the loop last turned.
        self.fresh = False
        self._waiting: list[tuple[int, Any, Any]] = []
        self._then: Callable[[], None] | None = None
        self._partial: dict[int, list[Any]] = {}
        self.connection = connector(
            parameters,
            self._on_frame,
            on_open_callback=self._opened,
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )
        self.connection.add_on_connection_blocked_callback(lambda _, one: self.taker.on_blocked(one.method))
        self.connection.add_on_connection_unblocked_callback(lambda _, one: self.taker.on_blocked(one.method))

    @property
    def connecting(self) -> bool:
        """Neither up nor lost yet."""
        return not (self.open or self.lost)

    def send(self, number: int, method: Any, content: Any = None) -> None:
        """Send a method, now or when the connection is up. Nothing once it is lost."""
        if self.open:
            self.fresh = True
            self.connection.send_raw(number, method, content)
        elif not self.lost:
            self._waiting.append((number, method, content))

    def close(self, then: Callable[[], None] | None = None) -> None:
        """Say goodbye; nothing comes up any more. ``then`` is called when it is closed."""
        going = self.open and self.connection.is_open
        self.lost, self.open = True, False
        if going:
            self._then = then
            self.connection.close()
        elif then is not None:
            then()

    def _opened(self, connection: Any) -> None:
        if self.lost:
            connection.close()
            return
        self.open = True
        waiting, self._waiting = self._waiting, []
        for number, method, content in waiting:
            self.send(number, method, content)

    def _ended(self, connection: Any, error: BaseException) -> None:
        if self.lost:
            then, self._then = self._then, None
            if then is not None:
                then()
            return
        self.open, self.lost = False, True
        close = None
        if isinstance(error, exceptions.ConnectionClosedByBroker) and error.reply_code != spec.CONNECTION_FORCED:
            close = error
        self.taker.on_lost(self.name, say(error), close)

    def _on_frame(self, one: Any) -> None:
        """A frame of a channel: methods go up alone, or with their content."""
        number = one.channel_number
        if isinstance(one, frame.Method):
            if spec.has_content(one.method.INDEX):
                self._partial[number] = [one.method, None, 0, []]
            else:
                self._up(number, one.method, None, None)
            return
        partial = self._partial.get(number)
        if partial is None:
            return
        if isinstance(one, frame.Header):
            partial[1], partial[2] = one.properties, one.body_size
        else:
            partial[3].append(one.fragment)
            partial[2] -= len(one.fragment)
        if partial[2] == 0:
            del self._partial[number]
            self._up(number, partial[0], partial[1], b"".join(partial[3]))

    def _up(self, number: int, method: Any, properties: Any, body: bytes | None) -> None:
        if not self.lost:
            self.taker.take(self.name, number, method, properties, body)

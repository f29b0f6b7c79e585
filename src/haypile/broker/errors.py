"""What the broker raises when RabbitMQ would close a channel or a connection.

Owns: the classes, their reply codes, their scope, and how a reply text is put together.
Must not know: the wording of explanations (``texts``), how a Close is sent.

Invariant: code and scope belong to the class, as in the AMQP 0-9-1 specification (soft errors
close the channel, hard errors the connection); only the explanation varies.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

#: Octets a reply text may have (it is a short string); RabbitMQ cuts longer ones to 252 and "...".
LONGEST_REPLY_TEXT = 255


class Scope(Enum):
    """What an error closes."""

    CHANNEL = "channel"
    CONNECTION = "connection"


class AMQPError(Exception):
    """RabbitMQ would answer with a Close.

    ``reply_code`` and ``reply_text`` are what Channel.Close or Connection.Close carries.
    """

    reply_code: ClassVar[int] = 541
    name: ClassVar[str] = "INTERNAL_ERROR"
    scope: ClassVar[Scope] = Scope.CONNECTION
    #: Whether the Close names the method that failed. RabbitMQ's does not when it fell over itself.
    blames_method: bool = True

    def __init__(self, explanation: str = "") -> None:
        super().__init__(explanation)
        self.explanation = explanation

    @property
    def reply_text(self) -> str | bytes:
        """``NAME - explanation``, cut to a short string as RabbitMQ cuts it: between octets.

        Where that is not UTF-8 (a character cut in two, octets that never were), pika hands the
        octets to the application.
        """
        if not self.explanation:
            return self.name
        encoded = f"{self.name} - {self.explanation}".encode(errors="surrogateescape")
        if len(encoded) > LONGEST_REPLY_TEXT:
            encoded = encoded[:252] + b"..."
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            return encoded

    def __str__(self) -> str:
        return f"({self.reply_code}, {self.reply_text!r})"


class AccessRefused(AMQPError):
    """403: the operation is not allowed on this object."""

    reply_code, name, scope = 403, "ACCESS_REFUSED", Scope.CHANNEL


class NotFound(AMQPError):
    """404: there is no such object."""

    reply_code, name, scope = 404, "NOT_FOUND", Scope.CHANNEL


class ResourceLocked(AMQPError):
    """405: the queue is exclusive to another connection."""

    reply_code, name, scope = 405, "RESOURCE_LOCKED", Scope.CHANNEL


class PreconditionFailed(AMQPError):
    """406: arguments, state or delivery tags do not fit."""

    reply_code, name, scope = 406, "PRECONDITION_FAILED", Scope.CHANNEL


class ConnectionForced(AMQPError):
    """320: an operator closed the connection."""

    reply_code, name = 320, "CONNECTION_FORCED"


class FrameError(AMQPError):
    """501: a frame that cannot be read."""

    reply_code, name = 501, "FRAME_ERROR"


class SyntaxError_(AMQPError):
    """502: a field with an illegal value."""

    reply_code, name = 502, "SYNTAX_ERROR"


class CommandInvalid(AMQPError):
    """503: a method that makes no sense here, or an exchange type nobody knows."""

    reply_code, name = 503, "COMMAND_INVALID"


class ChannelError(AMQPError):
    """504: a channel that is not open, or is opened twice."""

    reply_code, name = 504, "CHANNEL_ERROR"


class UnexpectedFrame(AMQPError):
    """505: content where a method was expected, or the other way round."""

    reply_code, name = 505, "UNEXPECTED_FRAME"


class ResourceError(AMQPError):
    """506: not enough of something."""

    reply_code, name = 506, "RESOURCE_ERROR"


class NotAllowed(AMQPError):
    """530: forbidden for this connection."""

    reply_code, name = 530, "NOT_ALLOWED"


class NotImplementedByBroker(AMQPError):
    """540: RabbitMQ does not do this, so neither do we."""

    reply_code, name = 540, "NOT_IMPLEMENTED"


class InternalError(AMQPError):
    """541: RabbitMQ itself breaks on this; without an explanation, as an Erlang process that died."""

    reply_code, name = 541, "INTERNAL_ERROR"

    def __init__(self, explanation: str = "") -> None:
        super().__init__(explanation)
        self.blames_method = bool(explanation)

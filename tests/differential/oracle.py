"""A bare AMQP client: sends any method, shows what comes back.

pika's own classes refuse some of what we want to see refused, so this speaks frames. It keeps one
channel open and opens it again after the broker closed it.
"""

from __future__ import annotations

import socket
import urllib.parse
from typing import Any

from pika import frame, spec
from pika.spec import BasicProperties

#: Seconds a reply may take.
TIMEOUT = 20.0

#: Methods that RabbitMQ does not answer when all is well.
UNANSWERED = (
    spec.Basic.Publish,
    spec.Basic.Ack,
    spec.Basic.Nack,
    spec.Basic.Reject,
    spec.Basic.RecoverAsync,
    spec.Basic.CancelOk,
    spec.Channel.FlowOk,
    spec.Channel.CloseOk,
)
#: Methods that come of themselves, at a time that is nobody's promise.
UNASKED = (spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Deliver, spec.Basic.Cancel)


def expects_reply(method: Any) -> bool:
    """Whether RabbitMQ answers ``method`` when all is well."""
    return not isinstance(method, UNANSWERED) and not getattr(method, "nowait", False)


def report(replies: list[Any]) -> tuple[Any, ...]:
    """What came back, to compare: name and fields of each method, or how it was closed."""
    last = replies[-1]
    if isinstance(last, (spec.Channel.Close, spec.Connection.Close)):
        scope = "channel" if isinstance(last, spec.Channel.Close) else "connection"
        return ("closed", scope, last.reply_code, last.reply_text, last.class_id, last.method_id)
    return tuple(
        (reply.NAME, {key: value for key, value in vars(reply).items() if not key.startswith("_")}) for reply in replies
    )


class Oracle:
    """One connection to a RabbitMQ, channel 1 open."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 5672, vhost: str = "/", login: str = "\0guest\0guest"
    ) -> None:
        self.address = (host, port)
        self.vhost = vhost
        self.login = login
        self.connect()

    @classmethod
    def at(cls, url: str) -> Oracle:
        """A connection to where ``url`` says."""
        parts = urllib.parse.urlsplit(url)
        login = f"\0{parts.username or 'guest'}\0{parts.password or 'guest'}"
        return cls(parts.hostname or "127.0.0.1", parts.port or 5672, cls.vhost_of(url), login)

    @staticmethod
    def vhost_of(url: str) -> str:
        """The vhost in an AMQP URL."""
        return urllib.parse.unquote(urllib.parse.urlsplit(url).path[1:]) or "/"

    def connect(self) -> None:
        """Shake hands and open the channel."""
        self.buffer = b""
        self.socket = socket.create_connection(self.address, TIMEOUT)
        # Else the second of two small frames waits 40 ms for the first one's acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.read_method()
        capabilities = {"capabilities": {"consumer_cancel_notify": True, "basic.nack": True}}
        self.send(0, spec.Connection.StartOk(capabilities, "PLAIN", self.login, "en_US"))
        tune = self.read_method()
        self.send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self.send(0, spec.Connection.Open(self.vhost))
        self.read_method()
        self.open_channel()

    def open_channel(self) -> None:
        """Channel 1, anew."""
        self.send(1, spec.Channel.Open())
        while not isinstance(self.read_method(), spec.Channel.OpenOk):
            pass

    def close(self) -> None:
        """Leave in order, so that what was exclusive to us is gone afterwards."""
        self.send(0, spec.Connection.Close(200, "", 0, 0))
        while not isinstance(self.read_method(), spec.Connection.CloseOk):
            pass
        self.socket.close()

    def turn(self) -> None:
        """Nothing of a RabbitMQ waits for us."""

    def send(self, channel: int, method: Any, properties: BasicProperties | None = None, body: bytes = b"") -> None:
        """Send a method, with content where it carries some."""
        pieces = [frame.Method(channel, method).marshal()]
        if properties is not None:
            pieces.append(frame.Header(channel, len(body), properties).marshal())
            if body:
                pieces.append(frame.Body(channel, body).marshal())
        self.socket.sendall(b"".join(pieces))

    def read_method(self) -> Any:
        """The next method, whatever its channel; content is passed over."""
        while True:
            used, found = frame.decode_frame(self.buffer)
            if found is None:
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionError("closed without a word")
                self.buffer += more
                continue
            self.buffer = self.buffer[used:]
            if isinstance(found, frame.Method):
                return found.method

    def call(self, method: Any, properties: BasicProperties | None = None, body: bytes = b"") -> tuple[Any, ...]:
        """Send ``method`` on channel 1; what came back (``report``).

        After a close, channel or connection are opened again.
        """
        self.send(1, method, properties, body)
        asked = expects_reply(method)
        if not asked:
            self.send(1, spec.Channel.Flow(active=True))
        replies: list[Any] = []
        while True:
            reply = self.read_method()
            if isinstance(reply, UNASKED):
                continue
            if not asked and isinstance(reply, spec.Channel.FlowOk):
                return report(replies) if replies else ()
            replies.append(reply)
            if isinstance(reply, spec.Channel.Close):
                self.send(1, spec.Channel.CloseOk())
                self.open_channel()
                return report(replies)
            if isinstance(reply, spec.Connection.Close):
                self.send(0, spec.Connection.CloseOk())
                self.socket.close()
                self.connect()
                return report(replies)
            if asked and not isinstance(reply, spec.Basic.Return):
                return report(replies)

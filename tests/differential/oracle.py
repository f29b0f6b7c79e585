"""A bare AMQP client: sends any method, shows what comes back.

pika's own classes refuse some of what we want to see refused, so this speaks frames. It keeps one
channel open and opens it again after the broker closed it.
"""

from __future__ import annotations

import socket
from typing import Any

from pika import frame, spec
from pika.spec import BasicProperties

TIMEOUT = 10.0


class Oracle:
    """One connection to a RabbitMQ, channel 1 open."""

    def __init__(self, host: str = "127.0.0.1", port: int = 5672, vhost: str = "/") -> None:
        self.address = (host, port)
        self.vhost = vhost
        self.connect()

    def connect(self) -> None:
        """Shake hands and open the channel."""
        self.buffer = b""
        self.socket = socket.create_connection(self.address, TIMEOUT)
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.read_method(0)
        self.send(0, spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
        tune = self.read_method(0)
        self.send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self.send(0, spec.Connection.Open(self.vhost))
        self.read_method(0)
        self.open_channel()

    def open_channel(self) -> None:
        """Channel 1, anew."""
        self.send(1, spec.Channel.Open())
        self.read_method(1)

    def close(self) -> None:
        """Drop the connection in order."""
        self.send(0, spec.Connection.Close(200, "", 0, 0))
        self.socket.settimeout(1)
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        self.socket.close()

    def send(
        self, channel: int, method: Any, properties: BasicProperties | None = None, body: bytes = b""
    ) -> None:
        """Send a method, with content where it carries some."""
        pieces = [frame.Method(channel, method).marshal()]
        if properties is not None:
            pieces.append(frame.Header(channel, len(body), properties).marshal())
            if body:
                pieces.append(frame.Body(channel, body).marshal())
        self.socket.sendall(b"".join(pieces))

    def read_frame(self) -> Any:
        """The next frame."""
        while True:
            used, found = frame.decode_frame(self.buffer)
            if found is not None:
                self.buffer = self.buffer[used:]
                return found
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed without a word")
            self.buffer += more

    def read_method(self, channel: int) -> Any:
        """The next method, whatever its channel; content frames are passed over."""
        while True:
            found = self.read_frame()
            if isinstance(found, frame.Method):
                return found.method

    def call(
        self, method: Any, properties: BasicProperties | None = None, body: bytes = b""
    ) -> tuple[Any, ...]:
        """Send ``method`` on channel 1; what came back, as a tuple to compare.

        ``("ok", name, fields)`` for a reply, ``("closed", scope, code, text, class, method)`` for a
        close, after which channel (and connection) are opened again.
        """
        self.send(1, method, properties, body)
        if properties is not None or getattr(method, "nowait", False):
            # Nothing is answered when all is well: ask something that is.
            self.send(1, spec.Basic.Qos(0, 0, False))
        while True:
            reply = self.read_method(1)
            if not isinstance(
                reply, (spec.Basic.Ack, spec.Basic.Return, spec.Basic.Deliver, spec.Basic.Cancel)
            ):
                break
        if isinstance(reply, spec.Channel.Close):
            self.send(1, spec.Channel.CloseOk())
            self.open_channel()
            return closed("channel", reply)
        if isinstance(reply, spec.Connection.Close):
            self.send(0, spec.Connection.CloseOk())
            self.socket.close()
            self.connect()
            return closed("connection", reply)
        fields = {key: value for key, value in vars(reply).items() if not key.startswith("_")}
        return ("ok", reply.NAME, fields)


def closed(scope: str, reply: Any) -> tuple[Any, ...]:
    """A Close as ``call`` reports it."""
    return ("closed", scope, reply.reply_code, reply.reply_text, reply.class_id, reply.method_id)

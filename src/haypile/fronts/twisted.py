"""pika's TwistedProtocolConnection, to a vhost of this host or to a RabbitMQ.

Owns: how descriptors of a session reach Twisted's reactor, and the TCP connection that is not made.
Must not know: the broker.

In Twisted the program connects by itself (an endpoint, a ClientCreator, a ReconnectingClientFactory) and
gives the protocol a transport. All of these call ``reactor.connectTCP``; importing this module makes it
ask first, for AMQP's ports, whether the protocol's parameters lead to this host's kernel. If so there is
no socket, and whoever waits for the connection gets one all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pika.adapters.twisted_connection import TwistedProtocolConnection as PikaTwistedProtocolConnection
from pika.connection import Parameters
from twisted.internet import address, error, interfaces, posixbase, protocol, tcp
from twisted.python.failure import Failure
from zope.interface import implementer

from haypile.broker.ports import VhostTarget
from haypile.fronts.front import Front
from haypile.targets import TargetError, resolve
from haypile.wires.seam import adapters

#: Where a TCP connection may be one to a RabbitMQ.
PORTS = (5671, 5672)


class TwistedConnection(Front, adapters.twisted_connection()):  # type: ignore[misc]
    """What is under the protocol, over a local wire."""

    threads = True
    transport: LocalTransport
    readers: dict[int, Reader]

    def open_hybrid(self, path: Path) -> Callable[..., Any]:
        """See ``Front``. Raises ``targets.TargetError``: pika's connection under Twisted brings no socket."""
        raise TargetError("hybrid connections are not available under Twisted in this version; use posix:///VHOST")

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See ``Front``."""
        self.readers[fd] = Reader(fd, callback)
        adapters.twisted_reactor(self).addReader(self.readers[fd])

    def unwatch(self, fd: int) -> None:
        """See ``Front``."""
        adapters.twisted_reactor(self).removeReader(self.readers.pop(fd))

    def stream_terminated(self, reason: Exception | None) -> None:
        """The end comes by way of the transport, as Twisted programs expect."""
        self.transport.finish(Failure(reason or error.ConnectionDone()))


@implementer(interfaces.IReadDescriptor)
class Reader:
    """A descriptor of a session, for the reactor."""

    def __init__(self, fd: int, callback: Callable[[], None]) -> None:
        self.fd = fd
        self.doRead = callback

    def fileno(self) -> int:
        """The descriptor."""
        return self.fd

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        """Who is at work, in Twisted's log."""
        return "haypile"


class TwistedProtocolConnection(PikaTwistedProtocolConnection):  # type: ignore[misc]
    """pika's TwistedProtocolConnection; its parameters say where it leads (``targets``)."""

    def __init__(self, parameters: Parameters | None = None, custom_reactor: Any = None) -> None:
        """See pika. Raises ``targets.TargetError`` for parameters that lead nowhere."""
        parameters = Parameters() if parameters is None else parameters
        target = resolve(parameters)
        super().__init__(parameters if isinstance(target, VhostTarget) else target, custom_reactor)
        self.local: TwistedConnection | None = None
        if isinstance(target, VhostTarget):
            self.local = adapters.replace_twisted(self, TwistedConnection, parameters, custom_reactor)
            self.local.readers = {}

    def makeConnection(self, transport: Any) -> None:
        """See pika."""
        if self.local is None:
            super().makeConnection(transport)
            return
        if not isinstance(transport, LocalTransport):
            # A socket that the program made by some other way than connectTCP: it is not needed.
            transport.loseConnection()
            transport = LocalTransport(None, self)
        self.local.transport = transport
        transport.connection = self.local
        self.local.connect()
        protocol.Protocol.makeConnection(self, transport)


@implementer(interfaces.ITransport)
class LocalTransport:
    """What a protocol has where a socket's transport would be."""

    def __init__(self, connector: LocalConnector | None, outermost: Any = None) -> None:
        self.connector = connector
        #: The protocol that the connector's factory built; it may wrap ours.
        self.outermost = outermost
        self.connection: TwistedConnection | None = None
        self.connected = self.disconnecting = False
        self.start = connector.reactor.callLater(0, self.begin) if connector is not None else None

    def begin(self) -> None:
        """The connection is made, unless the protocol leads elsewhere: then a socket is."""
        connector, self.start = self.connector, None
        assert connector is not None
        built = connector.factory.buildProtocol(self.getPeer())
        inner = built
        while hasattr(inner, "_wrappedProtocol"):  # of an endpoint
            inner = inner._wrappedProtocol
        if not isinstance(inner, TwistedProtocolConnection) or inner.local is None:
            connector.go_on(built)
            return
        connector.state = "connected"
        connector.cancelTimeout()
        self.connected = True
        self.outermost = built
        built.makeConnection(self)

    def failIfNotConnected(self, reason: Exception) -> None:
        """See Twisted: the connector was stopped, or waited too long."""
        if self.start is not None and self.connector is not None:
            self.start.cancel()
            self.start = None
            self.connector.connectionFailed(Failure(reason))

    def loseConnection(self, reason: Any = None) -> None:
        """Take the connection down."""
        if self.connection is not None and not self.disconnecting:
            self.disconnecting = True
            self.connection.disconnect()

    abortConnection = loseConnection

    def finish(self, reason: Failure) -> None:
        """The connection is down: all who wait for that hear of it."""
        self.connected = False
        self.outermost.connectionLost(reason)
        if self.connector is not None:
            self.connector.connectionLost(reason)

    def write(self, data: bytes) -> None:
        """Bytes go nowhere: methods do."""

    def writeSequence(self, data: Any) -> None:
        """See ``write``."""

    def getPeer(self) -> Any:
        """Where the program meant to connect."""
        host, port = ("localhost", PORTS[1]) if self.connector is None else (self.connector.host, self.connector.port)
        return address.IPv4Address("TCP", host, port)

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no socket."""

    setTcpKeepAlive = setTcpNoDelay

    def getTcpNoDelay(self) -> bool:
        """There is no socket."""
        return False

    getTcpKeepAlive = getTcpNoDelay


class LocalConnector(tcp.Connector):  # type: ignore[misc]
    """Twisted's connector, for a connection that may need no socket."""

    built: Any = None

    def _makeTransport(self) -> Any:
        return LocalTransport(self)

    def go_on(self, built: Any) -> None:
        """It needs one: ``built`` is the protocol that will have it."""
        self.built = built
        self.cancelTimeout()
        self.transport = super()._makeTransport()
        if self.timeout is not None:
            give_up = self.transport.failIfNotConnected
            self.timeoutID = self.reactor.callLater(self.timeout, give_up, error.TimeoutError())

    def buildProtocol(self, addr: Any) -> Any:
        """See Twisted."""
        self.state = "connected"
        self.cancelTimeout()
        built, self.built = self.built, None
        return built


_connect_tcp = posixbase.PosixReactorBase.connectTCP


def _connect(self: Any, host: Any, port: Any, factory: Any, timeout: float = 30.0, bindAddress: Any = None) -> Any:
    """``reactor.connectTCP``."""
    if port not in PORTS:
        return _connect_tcp(self, host, port, factory, timeout, bindAddress)
    connector = LocalConnector(host, port, factory, timeout, bindAddress, self)
    connector.connect()
    return connector


posixbase.PosixReactorBase.connectTCP = _connect

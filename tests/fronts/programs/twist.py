"""Twisted's ways to connect: ``twist.py endpoint|creator|factory FOLDER``. Prints what happens, in order."""

# mypy: ignore-errors

import os
import sys
import threading
from urllib.parse import urlsplit

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet import defer, endpoints, protocol, reactor, task

PARAMETERS = pika.URLParameters(os.environ["AMQP_URL"])
WHERE = urlsplit(os.environ["AMQP_URL"])


@defer.inlineCallbacks
def talk(connection):
    yield connection.ready
    print("ready", connection.is_open)
    channel = yield connection.channel()
    yield channel.confirm_delivery()
    yield channel.queue_declare("twist", auto_delete=True)
    yield channel.basic_qos(prefetch_count=10)
    queue, _ = yield channel.basic_consume("twist")
    for number in range(100):
        yield channel.basic_publish("", "twist", b"%d" % number)
    got = []
    for _ in range(100):
        _, method, _, body = yield queue.get()
        got.append(int(body))
        yield channel.basic_ack(method.delivery_tag)
    print("got", got == list(range(100)))
    woken = defer.Deferred()
    threading.Thread(target=reactor.callFromThread, args=(woken.callback, "from a thread")).start()
    print((yield woken))
    yield task.deferLater(reactor, 0.01, print, "later")
    try:
        yield channel.queue_declare("missing", passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        print("channel closed", error.reply_code)
    closed = connection.close()
    reason = yield closed
    print("closed", type(reason).__name__)


class Factory(protocol.ReconnectingClientFactory):
    """Connects again when the connection ends."""

    initialDelay = maxDelay = 0.01
    made = 0

    def buildProtocol(self, address):
        self.resetDelay()
        self.made += 1
        connection = TwistedProtocolConnection(PARAMETERS)
        connection.factory = self
        d = talk(connection)
        d.addErrback(print)
        return connection

    def clientConnectionLost(self, connector, reason):
        print("lost", reason.type.__name__)
        if self.made == 2:
            self.stopTrying()
            reactor.stop()
        protocol.ReconnectingClientFactory.clientConnectionLost(self, connector, reason)


@defer.inlineCallbacks
def main():
    how, host, port = sys.argv[1], WHERE.hostname or "localhost", WHERE.port or 5672
    if how == "factory":
        reactor.connectTCP(host, port, Factory())
        return
    if how == "endpoint":
        point = endpoints.TCP4ClientEndpoint(reactor, host, port)
        connection = yield endpoints.connectProtocol(point, TwistedProtocolConnection(PARAMETERS))
    else:
        creator = protocol.ClientCreator(reactor, TwistedProtocolConnection, PARAMETERS)
        connection = yield creator.connectTCP(host, port)
    yield talk(connection)
    if "HAYPILE_DIR" in os.environ:
        os.environ["HAYPILE_DIR"] = sys.argv[2]  # which is open to all: no place for messages
    wrong = pika.URLParameters(os.environ["AMQP_URL"].replace("guest:guest", "guest:wrong"))
    creator = protocol.ClientCreator(reactor, TwistedProtocolConnection, wrong)
    connection = yield creator.connectTCP(host, port)
    try:
        yield connection.ready
    except pika.exceptions.AMQPConnectionError as error:
        print("open error", type(error).__name__)
    reactor.stop()


reactor.callWhenRunning(lambda: main().addErrback(lambda failure: (print(failure), reactor.stop())))
reactor.run()

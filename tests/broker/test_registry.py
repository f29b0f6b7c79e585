"""Every method of AMQP 0-9-1 that a client may send is carried out, or answered as RabbitMQ answers it."""

from __future__ import annotations

from typing import Any

import pytest
from pika import amqp_object, spec

from haypile.broker import handlers
from haypile.broker.errors import AMQPError
from haypile.broker.handlers.registry import CHANNEL, CONNECTION, CONTENT

#: Methods of the handshake: the wire answers them before there is a session (``wires.handshake``).
HANDSHAKE = {
    "Connection.StartOk",
    "Connection.SecureOk",
    "Connection.TuneOk",
    "Connection.Open",
}
#: Methods that only a server sends. RabbitMQ answers them 503 on a channel, 504 on channel 0.
OF_SERVERS = {
    "Access.RequestOk",
    "Basic.CancelOk",
    "Basic.ConsumeOk",
    "Basic.Deliver",
    "Basic.GetEmpty",
    "Basic.GetOk",
    "Basic.QosOk",
    "Basic.RecoverOk",
    "Basic.Return",
    "Channel.OpenOk",
    "Confirm.SelectOk",
    "Connection.OpenOk",
    "Connection.Secure",
    "Connection.Start",
    "Connection.Tune",
    "Connection.UpdateSecretOk",
    "Exchange.BindOk",
    "Exchange.DeclareOk",
    "Exchange.DeleteOk",
    "Exchange.UnbindOk",
    "Queue.BindOk",
    "Queue.DeclareOk",
    "Queue.DeleteOk",
    "Queue.PurgeOk",
    "Queue.UnbindOk",
    "Tx.CommitOk",
    "Tx.RollbackOk",
    "Tx.SelectOk",
}
#: A channel that is open and not closing has no use for these; RabbitMQ answers 503.
OUT_OF_PLACE = {"Channel.CloseOk", "Channel.FlowOk"}
CONNECTION_CLASS = 10


def name_of(method: type) -> str:
    return method.__qualname__


ALL = [spec.methods[index] for index in sorted(spec.methods)]
OF_CLIENTS = [method for method in ALL if name_of(method) not in OF_SERVERS]


def test_counts() -> None:
    """pika knows 66 methods; those that a client sends are carried out by a handler, or known not to be."""
    handled = {*CHANNEL, *CONNECTION, *CONTENT}
    unhandled = {name_of(method) for method in OF_CLIENTS if method not in handled}
    assert unhandled - OUT_OF_PLACE == HANDSHAKE
    assert not {name_of(method) for method in handled} & OF_SERVERS
    assert (len(ALL), len(OF_CLIENTS), len(handled)) == (66, 38, 32)


class Told:
    """What a session was asked to send."""

    def __init__(self) -> None:
        self.closing = False
        self.channels: dict[int, Any] = {}
        self.outbox = self
        self.sent: list[Any] = []

    def method(self, channel: int, method: Any) -> None:
        self.sent.append(method)


@pytest.mark.parametrize("method", [one for one in ALL if name_of(one) in OF_SERVERS | OUT_OF_PLACE], ids=name_of)
def test_methods_of_servers_are_refused(method: type[amqp_object.Method]) -> None:
    session: Any = Told()
    handlers.dispatch(session, 1, spec.Channel.Open(), None, b"")
    number = 0 if method.INDEX >> 16 == CONNECTION_CLASS else 1
    with pytest.raises(AMQPError) as caught:
        handlers.dispatch(session, number, object.__new__(method), None, b"")
    assert caught.value.reply_code == (503 if number else 504)

"""confirm.select, tx.*: what publishing and settling on a channel mean.

Owns: the modes of a channel and their exclusions.
Must not know: how messages are stored.

RabbitMQ routes a transacted publish when it is sent and stores it at the commit; settlements
wait for the commit too, and a rollback makes them undone
(https://www.rabbitmq.com/docs/semantics#tx, rabbit_channel.erl).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pika import spec

from haypile.broker import texts
from haypile.broker.channel import Channel, Mode
from haypile.broker.errors import PreconditionFailed
from haypile.broker.handlers import publish
from haypile.broker.handlers.basic import carry_out
from haypile.broker.handlers.registry import handles
from haypile.broker.pressure import Congested
from haypile.hay.errors import OutOfRoom

if TYPE_CHECKING:
    from haypile.broker.session import Session


@handles(spec.Confirm.Select)
def confirm_select(session: Session, channel: Channel, method: spec.Confirm.Select) -> spec.Confirm.SelectOk | None:
    """From now on every publish is confirmed."""
    if channel.mode is Mode.TX:
        raise PreconditionFailed(texts.TX_TO_CONFIRM)
    channel.mode = Mode.CONFIRM
    session.journaling.awaits = True
    return None if method.nowait else spec.Confirm.SelectOk()


@handles(spec.Tx.Select)
def tx_select(session: Session, channel: Channel, method: spec.Tx.Select) -> spec.Tx.SelectOk:
    """From now on publishes and settlements wait for a commit."""
    if channel.mode is Mode.CONFIRM:
        raise PreconditionFailed(texts.CONFIRM_TO_TX)
    channel.mode = Mode.TX
    return spec.Tx.SelectOk()


@handles(spec.Tx.Commit)
def tx_commit(session: Session, channel: Channel, method: spec.Tx.Commit) -> spec.Tx.CommitOk | None:
    """Publishes first, then settlements, in the order they were made; the answer when all is safe."""
    if channel.mode is not Mode.TX:
        raise PreconditionFailed(texts.NOT_TRANSACTIONAL)
    try:
        session.vhost.hay.admit(sum(len(prepared.body) + len(prepared.encoded) for prepared in channel.tx_publishes))
    except OutOfRoom as error:
        raise Congested(str(error)) from None
    publishes, channel.tx_publishes = channel.tx_publishes, []
    settled, channel.tx_settled = channel.tx_settled, []
    for prepared in publishes:
        publish.deliver(session, channel, prepared)
    for kind, items, requeue in settled:
        carry_out(session, kind, [one for _, one in items], requeue)
    return spec.Tx.CommitOk() if session.journaling.commit(channel) else None


@handles(spec.Tx.Rollback)
def tx_rollback(session: Session, channel: Channel, method: spec.Tx.Rollback) -> spec.Tx.RollbackOk:
    """Publishes are forgotten; settled messages are unacked again."""
    if channel.mode is not Mode.TX:
        raise PreconditionFailed(texts.NOT_TRANSACTIONAL)
    channel.tx_publishes.clear()
    for _, items, _ in channel.tx_settled:
        for tag, one in items:
            channel.unacked[tag] = one
            if one.consumer is not None:
                one.consumer.unacked += 1
                channel.consumers_unacked += 1
    channel.unacked = dict(sorted(channel.unacked.items()))
    channel.tx_settled.clear()
    return spec.Tx.RollbackOk()

"""The short way of an ack does what the long one does, and leaves to that whatever is not plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika.exceptions
import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from haypile.broker.channel import Mode, Unacked
from haypile.broker.express import acks
from haypile.broker.holdings import Holdings
from haypile.broker.settle import ACK_BATCH
from haypile.broker.source import Source
from haypile.hay.counters import ACKED
from tests.broker.test_expiry import the_session


def hold(channel: BlockingChannel, count: int) -> list[int]:
    """Delivery tags of so many messages, sent to a consumer of queue q through its lane."""
    tags: list[int] = []
    channel.queue_declare("q")
    channel.basic_consume("q", lambda _, method, *__: tags.append(method.delivery_tag))
    for _ in range(count):
        channel.basic_publish("", "q", b"x")
        channel.connection.process_data_events(0)
    while len(tags) < count:
        channel.connection.process_data_events(1)
    return tags


def test_an_ack_settles_frees_the_slot_and_counts(channel: BlockingChannel) -> None:
    tags = hold(channel, 3)
    session = the_session()
    (broker_channel,) = session.channels.values()
    (consumer,) = broker_channel.consumers.values()
    short = acks(session, channel.channel_number)
    assert short is not None
    slots = dict(session.holdings.slots)
    assert len(slots) == consumer.unacked == broker_channel.consumers_unacked == 3
    assert short(tags[1])
    assert list(broker_channel.unacked) == [tags[0], tags[2]]
    assert consumer.unacked == broker_channel.consumers_unacked == 2
    assert len(session.holdings.slots) == len(session.holdings.landing.occupied()) == 2
    assert consumer.source.handle.counts[ACKED] == 1


def test_acks_of_what_the_store_has_are_written_down_together(channel: BlockingChannel) -> None:
    tags = hold(channel, ACK_BATCH + 1)
    session = the_session()
    (broker_channel,) = session.channels.values()
    short = acks(session, channel.channel_number)
    assert short is not None
    session.holdings.spill()
    assert [short(tag) for tag in tags[: ACK_BATCH - 1]] == [True] * (ACK_BATCH - 1)
    assert len(session.holdings.acked) == ACK_BATCH - 1
    assert not short(tags[-2])
    channel.basic_ack(tags[-2])
    assert session.holdings.acked == []
    with session.vhost.hay.read() as txn:
        assert len(list(txn.taken(session.id))) == len(broker_channel.unacked) == 1


def test_who_waits_for_the_acks_does_not_wait_for_a_look_at_the_lane(
    channel: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the store had. A publisher of persistent messages may go on when they are written down."""
    tags: list[int] = []
    channel.queue_declare("q")
    channel.basic_consume("q", lambda _, method, *__: tags.append(method.delivery_tag))
    channel.connection.process_data_events(0)
    session = the_session()
    (source,) = session.sources.values()
    done: list[str] = []

    def note(kind: type[Any], name: str) -> None:
        real = getattr(kind, name)

        def noted(self: Any, *arguments: Any) -> Any:
            done.append(name)
            return real(self, *arguments)

        monkeypatch.setattr(kind, name, noted)

    note(Holdings, "flush_acks")
    note(Source, "land")
    channel.basic_publish("", "q", b"x", BasicProperties(expiration="60000"))
    while not tags:
        channel.connection.process_data_events(1)
    assert not done
    channel.basic_ack(*tags)
    channel.connection.process_data_events(0)
    assert done == ["flush_acks", "land"] and source.idle
    with session.vhost.hay.read() as txn:
        assert not list(txn.taken(session.id))


def test_what_is_not_plain_takes_the_long_way(channel: BlockingChannel) -> None:
    tags = hold(channel, 2)
    session = the_session()
    (broker_channel,) = session.channels.values()
    short = acks(session, channel.channel_number)
    assert short is not None
    assert not short(0) and not short(99)
    channel.basic_ack(tags[0])
    channel.tx_select()
    assert broker_channel.mode is Mode.TX
    assert not short(tags[1])
    channel.basic_ack(tags[1])
    assert list(broker_channel.unacked) == []
    channel.tx_rollback()
    assert list(broker_channel.unacked) == [tags[1]]
    channel.basic_ack(tags[1])
    channel.tx_commit()
    assert channel.queue_declare("q", passive=True).method.message_count == 0


def test_a_second_ack_of_a_tag_closes_the_channel(channel: BlockingChannel) -> None:
    (tag,) = hold(channel, 1)
    channel.basic_ack(tag)
    channel.basic_ack(tag)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=f"unknown delivery tag {tag}") as caught:
        channel.queue_declare("q", passive=True)
    assert caught.value.reply_code == 406


def test_a_channel_that_is_gone_has_no_short_way(channel: BlockingChannel) -> None:
    hold(channel, 1)
    session, number = the_session(), channel.channel_number
    channel.close()
    assert acks(session, number) is None


class Interrupted(dict[int, Unacked]):
    """Ctrl-C falls into the third entry."""

    def __setitem__(self, slot: int, unacked: Unacked) -> None:
        if len(self) == 2:
            raise KeyboardInterrupt
        super().__setitem__(slot, unacked)


def test_an_exception_in_the_middle_of_a_batch_loses_nothing(
    channel: BlockingChannel, connect: Callable[[], BlockingConnection]
) -> None:
    got: list[tuple[int, bytes]] = []
    channel.queue_declare("q")
    channel.basic_consume("q", lambda _, method, __, body: got.append((method.delivery_tag, body)))
    channel.connection.process_data_events(0)
    session = the_session()
    for number in range(5):
        channel.basic_publish("", "q", b"%d" % number)
    session.holdings.slots = Interrupted()
    (broker_channel,) = session.channels.values()
    (source,) = session.sources.values()
    (consumer,) = source.consumers
    with pytest.raises(KeyboardInterrupt):
        source.pump()
    assert broker_channel.delivery_tag == consumer.unacked == broker_channel.consumers_unacked == 2
    session.holdings.slots = dict(session.holdings.slots)
    while len(got) < 2:
        channel.connection.process_data_events(0.1)
    assert got == [(1, b"0"), (2, b"1")]
    channel.basic_ack(2, multiple=True)
    channel.connection.close()
    left = connect().channel()
    assert [left.basic_get("q", auto_ack=True)[2] for _ in range(3)] == [b"2", b"3", b"4"]
    assert left.basic_get("q") == (None, None, None)

"""A consumer whose transaction finds no room leaves no kernel queue behind."""

from __future__ import annotations

from typing import Any

import lmdb
import pytest

from haypile.broker.vhost import Vhost as BrokerVhost
from haypile.hay.writing import Writing
from tests.room.conftest import connect, consume
from tests.support.vhosts import Vhost


def test_no_room_when_the_lane_is_made(tiny: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commit fails, the second attempt makes another lane: the first one goes at once."""
    ours, made, failed = Writing._commit_with_news, BrokerVhost.make_lane, [0]
    lanes: list[str] = []

    def make_lane(self: BrokerVhost, prefix: str, least: Any = None) -> Any:
        lane = made(self, prefix, least)
        assert lane is not None
        lanes.append(lane.name)
        return lane

    def commit(self: Writing, txn: Any) -> None:
        if len(lanes) == 1 and not failed[0]:
            failed[0] += 1
            raise lmdb.MapFullError("no room")
        ours(self, txn)

    with connect(tiny) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        monkeypatch.setattr(BrokerVhost, "make_lane", make_lane)
        monkeypatch.setattr(Writing, "_commit_with_news", commit)
        channel.basic_publish("", "q", b"0 ")
        channel.basic_consume("q", lambda *_: None, auto_ack=False)
        vhost = connection._impl.wire.session.vhost
        assert failed == [1] and len(set(lanes)) == 2
        assert vhost.announced.labels() == {vhost.lanes.label(lanes[1])}
        assert not vhost.lanes.is_there(lanes[0]) and vhost.lanes.is_there(lanes[1])
        connection.process_data_events(0)
    with connect(tiny) as connection:
        assert consume(connection.channel(), 1) == [0]

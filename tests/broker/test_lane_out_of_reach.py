"""A lane that cannot be opened for a while (a process without descriptors): nothing in it is lost."""

from __future__ import annotations

from typing import Any

import pytest

import haypile as pika
from haypile.lanes.posix import PosixLanes
from haypile.lanes.sysv import SysVLanes


@pytest.mark.parametrize("kind", ["posix", "sysv"])
def test_a_lane_that_cannot_be_opened_is_not_unlinked(
    kind: str, make_vhost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_vhost(kind).url
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        leaving, sender = connection.channel(), connection.channel()
        leaving.queue_declare("q")
        leaving.basic_qos(prefetch_count=1)
        tag = leaving.basic_consume("q", lambda *_: None)
        for number in range(5):
            sender.basic_publish("", "q", b"%d" % number)
        with monkeypatch.context() as without:
            for lanes in (PosixLanes, SysVLanes):
                without.setattr(lanes, "open", lambda self, name: None)
            leaving.basic_cancel(tag)
        leaving.close()
        # The next consumer to leave takes it away.
        sender.basic_cancel(sender.basic_consume("q", lambda *_: None, exclusive=True))
        found = [sender.basic_get("q", auto_ack=True)[2] for _ in range(6)]
    assert sorted(found[:5]) == [b"0", b"1", b"2", b"3", b"4"] and found[5] is None

"""A connection that opens looks for lanes that nobody has: it must not take living ones for such."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

import haypile as pika
from tests.support.vhosts import Vhost


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_living_lanes_and_what_is_in_them_stay(make_vhost: Callable[[str], Vhost], transport: str) -> None:
    parameters = pika.URLParameters(make_vhost(transport).url)
    with pika.BlockingConnection(parameters) as mine, pika.BlockingConnection(parameters) as other:
        channel, got = mine.channel(), list[Any]()
        channel.queue_declare("kept")
        channel.basic_consume("kept", lambda *args: got.append(args[3]), auto_ack=True)
        publisher = other.channel()
        for round_ in range(5):
            publisher.basic_publish("", "kept", b"%d" % round_)
            pika.BlockingConnection(parameters).close()
        deadline = time.monotonic() + 10
        while len(got) < 5 and time.monotonic() < deadline:
            mine.process_data_events(0.1)
        assert got == [b"%d" % round_ for round_ in range(5)]

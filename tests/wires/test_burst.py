"""Bursts: the bytes are pika's own, in fewer pieces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika import frame, spec

from haypile.fronts.select import LinkConnection
from haypile.wires import burst
from haypile.wires.seam.connection import Seam

MESSAGES = [
    ("", "queue", pika.BasicProperties(), b"x"),
    ("exchange", "a.b", pika.BasicProperties(delivery_mode=2, headers={"n": [1, None, "ä"]}), b"x" * 5000),
    ("exchange", "a.b", pika.BasicProperties(expiration="1", priority=3), bytes(range(256)) * 300),
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What reaches pika's transport."""
    found: list[bytes] = []
    monkeypatch.setattr(Seam, "emit", lambda self, data: found.append(data))
    return found


@pytest.fixture
def connection(sent: list[bytes]) -> Any:
    """One that leads to a RabbitMQ, not connected, and whose loop does not run."""
    parameters = pika.ConnectionParameters("rabbitmq.invalid", blocked_connection_timeout=7)
    made = LinkConnection(parameters, internal_connection_workflow=False)
    # As after the handshake.
    made.connection_state = made.CONNECTION_OPEN
    yield made
    made.ioloop.close()


def frames(number: int, exchange: str, key: str, properties: Any, body: bytes) -> bytes:
    """As pika encodes them."""
    method = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)
    three = frame.Method(number, method), frame.Header(number, len(body), properties), frame.Body(number, body)
    return b"".join(one.marshal() for one in three)


def test_the_bytes_are_pikas(connection: Any, sent: list[bytes]) -> None:
    """Message after message, and counted as pika counts."""
    channel = SimpleNamespace(channel_number=3, is_open=True)
    wanted = []
    for _ in range(2):
        for exchange, key, properties, body in MESSAGES:
            assert connection.publish(channel, exchange, key, properties, body)
            wanted.append(frames(3, exchange, key, properties, body))
    connection.flush()
    assert b"".join(sent) == b"".join(wanted)
    assert connection.bytes_sent == sum(map(len, wanted)) and connection.frames_sent == 3 * len(wanted)


def test_few_pieces_and_none_left_behind(connection: Any, sent: list[bytes]) -> None:
    """One piece for a turn of the loop, more only when it sends much; then the next burst begins."""
    pieces = [b"%d" % number * 40 for number in range(100)]
    for one in pieces:
        connection.emit(one)
    assert not sent
    connection.ioloop.process_timeouts()
    assert sent == [b"".join(pieces)]
    sent.clear()
    large = [b"y" * (burst.BURST // 2)] * 5
    for one in large:
        connection.emit(one)
    assert len(sent) == 2
    connection.ioloop.process_timeouts()
    assert b"".join(sent) == b"".join(large) and len(sent) == 3


@pytest.mark.parametrize("body", [b"", b"x" * 200_000])
def test_what_is_left_to_pika(connection: Any, sent: list[bytes], body: bytes) -> None:
    """Bodies of no frame or of several; and a channel that is closed, which pika refuses with its own error."""
    assert not connection.publish(SimpleNamespace(channel_number=1, is_open=True), "", "q", MESSAGES[0][2], body)
    assert not connection.publish(SimpleNamespace(channel_number=1, is_open=False), "", "q", MESSAGES[0][2], b"x")
    connection.flush()
    assert not sent


def test_what_a_lost_connection_held_is_lost_with_it(connection: Any, sent: list[bytes]) -> None:
    """It is not sent to a transport that is gone."""
    connection.emit(b"late")
    connection.connection_state = connection.CONNECTION_CLOSED
    connection.ioloop.process_timeouts()
    assert not sent

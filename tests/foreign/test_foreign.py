"""Queues of other programs: raw bytes in and out, and nothing of ours in them."""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import posix_ipc
import pytest

import haypile as pika
from haypile.broker import ruling
from haypile.broker.foreign import ForeignHandle
from haypile.broker.policies import Policy
from haypile.lanes.errors import LaneGone
from tests.foreign.conftest import DEPTH, Stranger

Connect = Callable[[], Any]


def wait_for(channel: Any, condition: Callable[[], bool], seconds: float = 10) -> None:
    """Turn the channel's connection until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        channel.connection.process_data_events(0.02)


# -- receiving ----------------------------------------------------------------------------------------------


def test_raw_bytes_with_their_numbers(channel: Any, stranger: Stranger) -> None:
    bodies = [b"text", b"", b"\x00\x01\xff", b"z" * 8192]
    for number, body in enumerate(bodies, 1):
        stranger.send(body, number)
        method, properties, got = channel.basic_get("raw")
        assert (got, stranger.number(properties)) == (body, number)
        assert (method.exchange, method.routing_key, method.redelivered) == ("", "raw", False)
        channel.basic_ack(method.delivery_tag)
    assert channel.basic_get("raw")[0] is None


def test_a_consumer_is_woken(channel: Any, stranger: Stranger) -> None:
    """At once, and not by the look once a second; a machine that is busy may keep one of them waiting."""
    got: list[bytes] = []
    times: list[float] = []
    channel.basic_consume("raw", lambda *args: got.append(args[3]), auto_ack=True)
    for number in range(9):
        channel.connection.process_data_events(0.01)
        started = time.monotonic()
        thread = threading.Timer(0.02, stranger.send, (b"%d" % number,))
        thread.start()
        wait_for(channel, lambda number=number: len(got) > number)  # type: ignore[misc]
        thread.join()
        times.append(time.monotonic() - started)
    assert sorted(times)[6] < 0.25, times
    assert got == [b"%d" % number for number in range(9)]


def test_what_is_requeued_comes_again(channel: Any, stranger: Stranger) -> None:
    stranger.send(b"again", 5)
    first = channel.basic_get("raw")[0]
    channel.basic_nack(first.delivery_tag)
    assert stranger.depth() == 0, "its own reader does not get it twice"
    second, properties, body = channel.basic_get("raw")
    assert second.redelivered and body == b"again" and stranger.number(properties) == 5
    channel.basic_ack(second.delivery_tag)
    assert channel.basic_get("raw")[0] is None


def test_what_a_closed_connection_held_comes_again(channel: Any, stranger: Stranger, connect: Connect) -> None:
    for number in range(1, 4):
        stranger.send(b"%d" % number)
    got: list[bytes] = []
    channel.basic_consume("raw", lambda *args: got.append(args[3]))
    wait_for(channel, lambda: len(got) == 3)
    channel.connection.close()
    other = connect()
    found = [other.basic_get("raw") for _ in range(4)]
    assert [body for _, _, body in found] == [b"1", b"2", b"3", None]
    assert all(method.redelivered for method, _, _ in found[:3])


@pytest.mark.parametrize("size", [0, 5, 8192])
def test_a_killed_consumer_loses_nothing(url: str, stranger: Stranger, connect: Connect, size: int) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            made = pika.BlockingConnection(pika.URLParameters(url)).channel()
            made.queue_declare("raw", arguments={"x-kernel-queue": stranger.address})
            made.basic_consume("raw", lambda *args: os.write(writer, b"x"))
            made.start_consuming()
        finally:
            os._exit(1)
    body = b"\xfd" * size
    stranger.send(body, 7)
    os.read(reader, 1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    method, properties, got = connect().basic_get("raw", auto_ack=True)
    assert method.redelivered and got == body and stranger.number(properties) == 7


def test_high_priorities(connect: Connect) -> None:
    stranger = Stranger("posix")
    try:
        channel = connect()
        channel.queue_declare("raw", arguments={"x-kernel-queue": stranger.address})
        stranger.send(b"x", 32_767)
        _, properties, _ = channel.basic_get("raw", auto_ack=True)
        assert properties.priority == 255 and properties.headers == {"x-kernel-priority": 32_767}
        channel.basic_publish("", "raw", b"y", properties)
        assert stranger.receive() == (b"y", 32_767)
    finally:
        stranger.remove()


# -- sending ------------------------------------------------------------------------------------------------


def test_raw_bytes_go_out(channel: Any, stranger: Stranger) -> None:
    channel.confirm_delivery()
    for number, body in enumerate((b"text", b"", b"z" * 8192), 3):
        channel.basic_publish("", "raw", body, stranger.properties(number), mandatory=True)
        assert stranger.receive() == (body, number)
    channel.basic_publish("", "raw", b"plain")
    assert stranger.receive() == (b"plain", 0 if stranger.kind == "posix" else 1)


def test_from_any_exchange_beside_other_queues(channel: Any, stranger: Stranger) -> None:
    channel.exchange_declare("news", "topic")
    channel.queue_declare("ours")
    for queue in ("raw", "ours"):
        channel.queue_bind(queue, "news", "weather.#")
    channel.basic_publish("news", "weather.rain", b"rain")
    channel.basic_publish("news", "weather.sun", b"sun", pika.BasicProperties(expiration="60000"))
    assert [stranger.receive(), stranger.receive(), stranger.receive()][2] is None
    assert [channel.basic_get("ours", auto_ack=True)[2] for _ in range(3)] == [b"rain", b"sun", None]


def test_transactions_and_dead_letters_go_out(channel: Any, stranger: Stranger) -> None:
    channel.queue_declare("dying", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "raw"})
    channel.basic_publish("", "dying", b"dead", stranger.properties(4))
    channel.basic_reject(channel.basic_get("dying")[0].delivery_tag, requeue=False)
    channel.connection.process_data_events(0)
    assert stranger.receive() == (b"dead", 4)
    other = channel.connection.channel()
    other.tx_select()
    other.basic_publish("", "raw", b"committed", stranger.properties(2))
    assert stranger.depth() == 0
    other.tx_commit()
    assert stranger.receive() == (b"committed", 2)


def test_too_large(channel: Any, stranger: Stranger) -> None:
    channel.basic_publish("", "raw", b"x" * 8193)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="8193 bytes do not fit") as raised:
        channel.queue_declare("raw", passive=True)
    assert raised.value.reply_code == 406 and stranger.depth() == 0


def test_a_full_queue_pushes_back(channel: Any, stranger: Stranger) -> None:
    blocked: list[str] = []
    received: list[bytes] = []
    connection = channel.connection
    connection.add_on_connection_blocked_callback(lambda *_: blocked.append("blocked"))
    connection.add_on_connection_unblocked_callback(lambda *_: blocked.append("unblocked"))
    body = b"x" * 4096
    sent = 0
    while stranger.depth() < (DEPTH if stranger.kind == "posix" else 4):
        channel.basic_publish("", "raw", body)
        sent += 1

    def drain() -> None:
        deadline = time.monotonic() + 10
        while len(received) < sent + 20 and time.monotonic() < deadline:
            time.sleep(0.001)
            if (one := stranger.receive()) is not None:
                received.append(one[0])

    thread = threading.Timer(0.3, drain)
    thread.start()
    started = time.monotonic()
    channel.basic_publish("", "raw", b"first that waits")
    assert time.monotonic() - started > 0.1, "the publisher waits with it"
    for number in range(19):
        channel.basic_publish("", "raw", b"%d" % number)
    thread.join()
    connection.process_data_events(0)
    assert received == [body] * sent + [b"first that waits"] + [b"%d" % number for number in range(19)]
    assert blocked[:2] == ["blocked", "unblocked"] and len(blocked) % 2 == 0
    assert channel.queue_declare("raw", passive=True).method.message_count == 0


def test_confirms_come_when_it_is_there(channel: Any, stranger: Stranger) -> None:
    channel.confirm_delivery()
    body = b"x" * 8000
    while stranger.depth() < (DEPTH if stranger.kind == "posix" else 2):
        channel.basic_publish("", "raw", body)
    thread = threading.Timer(0.2, stranger.receive)
    thread.start()
    channel.basic_publish("", "raw", body)
    thread.join()
    assert stranger.depth() == (DEPTH if stranger.kind == "posix" else 2)


def test_a_program_may_drain_its_own_queue(channel: Any, stranger: Stranger) -> None:
    got: list[bytes] = []
    channel.basic_consume("raw", lambda *args: got.append(args[3]), auto_ack=True)
    for number in range(100):
        channel.basic_publish("", "raw", b"%03d" % number + b"x" * 2000)
    wait_for(channel, lambda: len(got) == 100)
    assert [int(body[:3]) for body in got] == list(range(100))


# -- whose it is --------------------------------------------------------------------------------------------


def test_nothing_is_made_or_removed(connect: Connect, stranger: Stranger) -> None:
    channel = connect()
    absent = "posix:/stranger-absent" if stranger.kind == "posix" else "sysv:2147483000"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="there is no") as raised:
        channel.queue_declare("raw", arguments={"x-kernel-queue": absent})
    assert raised.value.reply_code == 404
    channel = connect()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare("raw", passive=True)
    channel = connect()
    channel.queue_declare("raw", arguments={"x-kernel-queue": stranger.address, "x-kernel-maxmsg": 2})
    channel.basic_publish("", "raw", b"stays")
    assert channel.queue_declare("raw", passive=True).method.message_count == 1
    channel.queue_delete("raw")
    assert stranger.receive() == (b"stays", 0 if stranger.kind == "posix" else 1)


def test_made_by_its_sizes(connect: Connect) -> None:
    name = f"/stranger-{secrets.token_hex(6)}"
    channel = connect()
    arguments = {"x-kernel-queue": f"posix:{name}", "x-kernel-maxmsg": 3, "x-kernel-msgsize": 100}
    channel.queue_declare("raw", arguments=arguments)
    made = posix_ipc.MessageQueue(name)
    assert (made.max_messages, made.max_message_size) == (3, 100)
    channel.queue_declare("raw", arguments=arguments)
    channel.queue_delete("raw")
    posix_ipc.unlink_message_queue(name)
    made.close()


def test_purge_takes_what_is_there(channel: Any, stranger: Stranger) -> None:
    for number in range(1, 4):
        stranger.send(b"x", number)
    assert channel.queue_purge("raw").method.message_count == 3 and stranger.depth() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-kernel-queue": 5},
        {"x-kernel-queue": "posix:noslash"},
        {"x-kernel-queue": "sysv:no number"},
        {"x-kernel-queue": "other:/x"},
        {"x-kernel-queue": "posix:/x", "x-max-length": 5},
        {"x-kernel-queue": "posix:/x", "x-message-ttl": 5},
        {"x-kernel-queue": "posix:/x", "x-kernel-maxmsg": -1},
        {"x-kernel-maxmsg": 5},
    ],
)
def test_arguments_that_make_no_sense(connect: Connect, arguments: dict[str, Any]) -> None:
    refused = r"invalid arg .*x-(kernel|m)"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=refused) as raised:
        connect().queue_declare("raw", arguments=arguments)
    assert raised.value.reply_code == 406


def test_its_owner_makes_it_anew(connect: Connect) -> None:
    stranger = Stranger("posix")
    name = stranger.queue.name
    try:
        channel = connect()
        channel.queue_declare("raw", arguments={"x-kernel-queue": stranger.address})
        got: list[bytes] = []
        channel.basic_consume("raw", lambda *args: got.append(args[3]), auto_ack=True)
        stranger.send(b"old")
        wait_for(channel, lambda: got == [b"old"])
        stranger.remove()
        stranger.queue = posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_messages=DEPTH, max_message_size=8192)
        stranger.send(b"new")
        wait_for(channel, lambda: got == [b"old", b"new"])
        channel.basic_publish("", "raw", b"still ours")
        wait_for(channel, lambda: got == [b"old", b"new", b"still ours"])
    finally:
        stranger.remove()


@pytest.mark.parametrize("auto_ack", [True, False])
def test_a_batch_that_breaks_off_is_kept(
    channel: Any, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, auto_ack: bool
) -> None:
    """The queue's owner removes it in the middle of a batch: what came before is delivered."""
    for number in range(3):
        stranger.send(b"%d" % number)
    opened = ForeignHandle.open
    broken: list[Any] = []

    def open_queue(handle: ForeignHandle, create: bool = False) -> Any:
        lane: Any = opened(handle, create)
        if not broken:
            broken.append(lane)
            if auto_ack:
                lane._queue = breaking(lane._queue)
            else:
                monkeypatch.setattr(lane, "receive_into", third_fails(lane.receive_into, LaneGone("gone")))
        return lane

    monkeypatch.setattr(ForeignHandle, "open", open_queue)
    got: list[bytes] = []
    consumer = channel.connection.channel()
    consumer.basic_consume("raw", lambda c, m, p, body: got.append(body), auto_ack=auto_ack)
    wait_for(channel, lambda: len(got) == 3)
    assert broken and got == [b"0", b"1", b"2"]


def third_fails(call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """``call``, which fails the third time."""
    calls = itertools.count(1)

    def failing(*arguments: Any) -> Any:
        if next(calls) == 3:
            raise error
        return call(*arguments)

    return failing


def breaking(queue: Any) -> Any:
    """A kernel queue that is not there at the third attempt to receive."""
    found = Mock(wraps=queue)
    found.receive = third_fails(queue.receive, OSError("gone"))
    return found


def test_a_policy_makes_no_queue_of_ours_of_it(channel: Any, stranger: Stranger) -> None:
    """A message TTL is nothing that its owner could follow: what is published goes to it all the same."""
    session = channel.connection._impl.wire.session
    ruling.set_policy(session, Policy("ttl", "raw", {"message-ttl": 60_000}, 0, "queues"))
    handle = session.handle_for(session.vhost.topology.queues["raw"])
    assert handle.rules.message_ttl == 60_000 and not handle.lanes and not handle.ages, "no detour by the store"
    for body in (b"1", b"2"):
        channel.basic_publish("", "raw", body)
    number = 0 if stranger.kind == "posix" else 1
    assert [stranger.receive() for _ in range(3)] == [(b"1", number), (b"2", number), None]

"""Messages that exchanges keep: x-delayed-message holds them back, x-recent-history hands them to new bindings."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.support.vhosts import Vhost


def all_of(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Bodies of everything in ``queue``."""
    found = []
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        found.append(body)
    return found


def delayed(channel: BlockingChannel) -> None:
    channel.exchange_declare("d", "x-delayed-message", arguments={"x-delayed-type": "topic"})
    channel.queue_declare("q")
    channel.queue_bind("q", "d", "a.*")


def test_delayed_messages_come_in_the_order_of_their_times(channel: BlockingChannel) -> None:
    delayed(channel)
    begun = time.monotonic()
    for delay in (240, 80, 160):
        channel.basic_publish("d", "a.b", b"%d" % delay, pika.BasicProperties(headers={"x-delay": delay, "n": 1}))
    got = []
    for method, properties, body in channel.consume("q", auto_ack=True, inactivity_timeout=2):
        got.append((body, properties.headers, method.exchange, method.routing_key))
        assert time.monotonic() - begun >= int(body) / 1000
        if len(got) == 3:
            break
    channel.cancel()
    assert got == [(b"%d" % delay, {"n": 1, "x-delay": delay}, "d", "a.b") for delay in (80, 160, 240)]


def test_a_message_held_back_has_no_route_yet(channel: BlockingChannel) -> None:
    delayed(channel)
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("d", "a.b", b"", pika.BasicProperties(headers={"x-delay": 1000}), mandatory=True)


def test_held_back_messages_outlive_their_publisher(posix: Vhost, channel: BlockingChannel) -> None:
    delayed(channel)
    program = (
        "import os, haypile, pika; "
        f"c = haypile.BlockingConnection(haypile.URLParameters({posix.url!r})).channel(); "
        "c.basic_publish('d', 'a.b', b'x', pika.BasicProperties(headers={'x-delay': 300})); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False)
    for method, _, body in channel.consume("q", auto_ack=True, inactivity_timeout=3):
        assert method is not None and body == b"x"
        break
    channel.cancel()


def test_dead_letters_are_held_back_too(channel: BlockingChannel) -> None:
    delayed(channel)
    channel.queue_bind("q", "d", "t")
    channel.queue_declare("t", arguments={"x-message-ttl": 1, "x-dead-letter-exchange": "d"})
    channel.basic_publish("", "t", b"x", pika.BasicProperties(headers={"x-delay": 50}))
    for _, properties, body in channel.consume("q", auto_ack=True, inactivity_timeout=3):
        assert (body, properties.headers["x-delay"]) == (b"x", -50)
        break
    channel.cancel()


def test_a_dead_letter_tells_that_it_was_held_back(channel: BlockingChannel) -> None:
    delayed(channel)
    channel.queue_declare("t", arguments={"x-message-ttl": 1, "x-dead-letter-exchange": "d"})
    channel.queue_bind("t", "d", "t")
    channel.exchange_declare("h", "headers")
    channel.queue_bind("q", "h", arguments={"x-match": "any-with-x", "x-delay": -50})
    channel.exchange_bind("h", "d", "t")
    channel.basic_publish("d", "t", b"x", pika.BasicProperties(headers={"x-delay": 50}))
    seen = []
    for _, properties, _ in channel.consume("q", auto_ack=True, inactivity_timeout=3):
        seen.append(properties.headers["x-delay"])
        if len(seen) == 2:
            break
    channel.cancel()
    assert seen == [50, -50]  # the broker routes by the negative, and only a dead letter shows it


def test_new_bindings_get_the_recent_history(channel: BlockingChannel) -> None:
    channel.exchange_declare("h", "x-recent-history", arguments={"x-recent-history-length": 3})
    for number in range(5):
        channel.basic_publish("h", "k", b"%d" % number)
    channel.basic_publish("h", "k", b"no", pika.BasicProperties(headers={"x-recent-history-no-store": True}))
    for queue in ("q", "r"):
        channel.queue_declare(queue)
    channel.queue_bind("q", "h")
    channel.queue_bind("q", "h")
    assert all_of(channel, "q") == [b"2", b"3", b"4"]
    channel.exchange_declare("f", "fanout")
    channel.queue_bind("r", "f")
    channel.exchange_bind("f", "h")
    assert all_of(channel, "r") == [b"4", b"3", b"2"]
    channel.basic_publish("h", "k", b"5")
    assert all_of(channel, "q") == all_of(channel, "r") == [b"5"]


def test_history_goes_with_its_exchange(channel: BlockingChannel) -> None:
    channel.queue_declare("q")
    channel.exchange_declare("h", "x-recent-history")
    channel.basic_publish("h", "k", b"x")
    channel.exchange_delete("h")
    channel.exchange_declare("h", "x-recent-history")
    channel.queue_bind("q", "h")
    assert all_of(channel, "q") == []

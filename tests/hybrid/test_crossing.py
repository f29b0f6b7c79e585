"""Bindings across, and their end; deletes on either side; programs of other loops."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
import pytest

import haypile
from haypile import targets
from haypile.broker.ports import VhostTarget
from haypile.links import status
from tests.hybrid.world import count, on

pytestmark = pytest.mark.rabbitmq

LOCAL = "posix:///mixed"


def until(connection: Any, condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """While the program's loop turns. Raises AssertionError that says what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        connection.sleep(0.05)


def links() -> list[str]:
    """Names of the links that bindings made."""
    target = targets.resolve(haypile.URLParameters(LOCAL))
    assert isinstance(target, VhostTarget)
    return [plan.name for plan in status.declared(target.directory)]


def is_there(url: str, kind: str, name: str) -> bool:
    """Whether there is such a queue or exchange."""
    with on(url) as plain:
        try:
            getattr(plain.channel(), f"{kind}_declare")(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            assert error.reply_code == 404
            return False
    return True


@pytest.mark.parametrize("way", ["up", "down"])
def test_the_link_goes_with_its_last_binding(way: str, channel: Any, connection: Any, central: str) -> None:
    """What was collected before arrives, what is published after does not, and nothing is left on either side."""
    exchange, queue = ("near.events", "far") if way == "up" else ("far.events", "near")
    source, goal = (LOCAL, central) if way == "up" else (central, LOCAL)
    channel.exchange_declare(exchange, "topic")
    for key in ("a.*", "b.*"):
        channel.queue_bind(queue, exchange, key)
    (name,) = links()
    channel.queue_unbind(queue, exchange, "a.*")
    channel.confirm_delivery()
    channel.basic_publish(exchange, "a.1", b"not bound any more")
    for _ in range(50):
        channel.basic_publish(exchange, "b.1", b"collected")
    # As on a RabbitMQ: a second unbind is fine.
    channel.queue_unbind(queue, exchange, "a.*")
    assert links() == [name]
    channel.queue_unbind(queue, exchange, "b.*")
    channel.basic_publish(exchange, "b.1", b"too late")
    until(connection, lambda: not links(), "the link to go")
    assert count(goal, queue) == 50
    until(connection, lambda: not is_there(source, "queue", name), "its queue to go")
    until(connection, lambda: not is_there(goal, "exchange", name), "its exchange to go")
    assert is_there(source, "exchange", exchange) and is_there(goal, "queue", queue)
    # And anew.
    channel.queue_bind(queue, exchange, "c")
    channel.basic_publish(exchange, "c", b"again")
    until(connection, lambda: count(goal, queue) == 51, "the new link")


def test_deletes_on_either_side(channel: Any, connection: Any, central: str) -> None:
    """Counts, 404 for what is gone, if_empty's and if_unused's refusals: by the side that has the name."""
    for queue, url in (("near", LOCAL), ("far", central)):
        one = connection.channel()
        one.confirm_delivery()
        for _ in range(3):
            one.basic_publish("", queue, b"x")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=r"not empty|in use") as caught:
            one.queue_delete(queue, if_empty=True)
        assert caught.value.reply_code == 406
        assert channel.queue_delete(queue).method.message_count == 3
        assert not is_there(url, "queue", queue)
        # As RabbitMQ has it since 3.0: deleting what is not there is no error.
        assert channel.queue_delete(queue).method.message_count == 0
    for exchange, url in (("near.x", LOCAL), ("far.x", central)):
        queue = exchange.replace("x", "q")
        channel.exchange_declare(exchange, "fanout")
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange)
        one = connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="in use") as caught:
            one.exchange_delete(exchange, if_unused=True)
        assert caught.value.reply_code == 406
        channel.exchange_delete(exchange)
        assert not is_there(url, "exchange", exchange)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            one = connection.channel()
            one.confirm_delivery()
            one.basic_publish(exchange, "", b"x")
        assert caught.value.reply_code == 404


def test_the_goal_of_a_link_is_deleted(channel: Any, connection: Any, central: str) -> None:
    """As for any binding: what is published then goes nowhere; the program and its other names go on."""
    channel.exchange_declare("near.events", "topic")
    channel.queue_bind("far", "near.events", "#")
    channel.confirm_delivery()
    channel.basic_publish("near.events", "a", b"1")
    until(connection, lambda: count(central, "far") == 1, "the first to cross")
    channel.queue_delete("far")
    channel.basic_publish("near.events", "a", b"2")
    (name,) = links()
    until(connection, lambda: count(LOCAL, name) == 0, "the second to be let go")
    channel.queue_declare("far", durable=True)
    channel.basic_publish("", "far", b"3")
    assert count(central, "far") == 1

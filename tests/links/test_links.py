"""Links between a queue here and a RabbitMQ that is stopped, killed, blocked and refusing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from haypile.links.end import say
from tests.links.links import LOCAL, Running, connect, drain, empty, publish, wait_for
from tests.support.node import Node

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(180)]

#: What each link of ``ROUTES`` has in hand at most.
WINDOW = 50
ROUTES = """
[remotes.central]
url = "${CENTRAL_URL}"

[[links]]
name = "up"
from = { queue = "up" }
to = { remote = "central", queue = "up" }
window = 50

[[links]]
name = "down"
from = { remote = "central", queue = "down" }
to = { queue = "down" }
window = 50
"""
Start = Callable[..., Running]


def bodies(count: int, first: int = 0) -> list[bytes]:
    """Different ones, in order."""
    return [b"%06d" % number for number in range(first, first + count)]


@pytest.fixture
def start(node: Node, state_directory: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts links between fresh queues."""
    started: list[Running] = []

    def starter(routes: str = ROUTES) -> Running:
        for url in (LOCAL, node.url):
            with connect(url) as connection:
                channel = connection.channel()
                for queue in ("up", "down", "bounded"):
                    channel.queue_delete(queue)
                    if queue != "bounded":
                        channel.queue_declare(queue, durable=True)
        running = Running(tmp_path, routes, CENTRAL_URL=node.url)
        running.start()
        started.append(running)
        return running

    yield starter
    for running in started:
        running.close()
    with connect(LOCAL):  # whoever comes next gives back what a killed one had
        pass


def in_order(found: list[tuple[Any, Any, bytes]]) -> list[bytes]:
    """The bodies, the first of each."""
    return list(dict.fromkeys(body for _, _, body in found))


def test_each_way_with_everything_a_message_has(node: Node, start: Start) -> None:
    """Properties and headers arrive as they were sent; the hop header is added."""
    start()
    sent = {"content_type": "text/plain", "priority": 3, "expiration": "60000", "correlation_id": "c", "type": "t"}
    for name, here, there in (("up", LOCAL, node.url), ("down", node.url, LOCAL)):
        publish(here, name, bodies(300), headers={"n": 1, "deep": {"list": [1, "a", None]}}, **sent)
        found = drain(there, name, 300)
        assert [body for _, _, body in found] == bodies(300)
        for _, properties, _ in found:
            assert {key: getattr(properties, key) for key in sent} == sent
            headers = dict(properties.headers)
            assert headers.pop("x-haypile-hops")[0].startswith(f"{name}@")
            assert headers == {"n": 1, "deep": {"list": [1, "a", None]}}
            assert properties.delivery_mode == 2
        assert empty(here, name)


def unmarked(found: list[tuple[Any, Any, bytes]]) -> list[bytes]:
    """What came twice, and the second time without the header that says so."""
    seen: set[bytes] = set()
    wrong = []
    for _, properties, body in found:
        if body in seen and not properties.headers.get("x-haypile-redelivered"):
            wrong.append(body)
        seen.add(body)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("way", ["stop", "kill"])
def test_the_rabbitmq_goes_and_comes_back(node: Node, start: Start, way: str) -> None:
    """Nothing is lost, only what was in flight comes twice, and the trouble is said once."""
    running = start()
    node.remember()
    publish(LOCAL, "up", bodies(1000))
    publish(node.url, "down", bodies(1000))
    getattr(node, way)()
    publish(LOCAL, "up", bodies(500, 1000))
    wait_for(lambda: running.status("up").get("state") == "waiting", "the link to notice")
    node.start()
    up, down = drain(node.url, "up", 1500, 60), drain(LOCAL, "down", 1000, 60)
    assert in_order(up) == bodies(1500) and in_order(down) == bodies(1000)
    assert len(up) - 1500 <= WINDOW and not unmarked(up)
    # Whoever consumes from a RabbitMQ that is killed gets again what it had not yet written down as acknowledged.
    assert len(down) - 1000 <= (WINDOW if way == "stop" else 1000) and not unmarked(down)
    wait_for(lambda: running.status("up")["state"] == "running", "the link to be well")
    assert empty(LOCAL, "up") and empty(node.url, "down")
    assert "guest:guest" not in running.log.read_text()
    assert running.log.read_text().count("WARNING link 'up'") <= 3, running.log.read_text()


def test_the_link_is_killed(node: Node, start: Start) -> None:
    """What it had in hand goes back, marked redelivered, and is passed on by the next one."""
    running = start()
    publish(LOCAL, "up", bodies(2000))
    wait_for(lambda: running.status("up").get("moved", -1) >= 0, "the link to run")
    for _ in range(3):
        running.kill()
        assert not running.status("up")["running"]
        running.start()
    found = drain(node.url, "up", 2000, 60)
    assert in_order(found) == bodies(2000)
    again = [body for body in bodies(2000) if [one for _, _, one in found].count(body) > 1]
    assert len(again) <= 4 * WINDOW
    # AMQP has no redelivered flag for a publisher; the header says it.
    marked = {body for _, properties, body in found if properties.headers.get("x-haypile-redelivered")}
    assert set(again) <= marked
    assert running.close() == 0


def test_a_blocked_rabbitmq(node: Node, start: Start) -> None:
    """It waits, says so, and goes on."""
    running = start()
    node.block()
    try:
        # RabbitMQ blocks a connection when it publishes.
        publish(LOCAL, "up", bodies(200))
        wait_for(lambda: running.status("up").get("state") == "blocked", "the link to be blocked")
        publish(LOCAL, "up", bodies(100, 200))
    finally:
        node.unblock()
    found = drain(node.url, "up", 300)
    assert [body for _, _, body in found] == bodies(300)


def test_a_full_queue_and_a_missing_exchange(node: Node, start: Start) -> None:
    """basic.nack and 404: the link waits, and what was refused arrives when there is room."""
    with connect(node.url) as connection:
        channel = connection.channel()
        channel.queue_delete("bounded")
    routes = ROUTES.replace('remote = "central", queue = "up" }', 'remote = "central", exchange = "later" }')
    running = start(routes)
    publish(LOCAL, "up", bodies(30))
    wait_for(lambda: "404" in (running.status("up").get("last_error") or ""), "a 404")
    with connect(node.url) as connection:
        channel = connection.channel()
        channel.exchange_declare("later", "fanout")
        # It is there, but leads nowhere: messages come back and are kept.
        wait_for(lambda: "NO_ROUTE" in (running.status("up").get("last_error") or ""), "a return")
        full = {"x-max-length": 10, "x-overflow": "reject-publish"}
        channel.queue_declare("bounded", arguments=full)
        channel.queue_bind("bounded", "later")
        wait_for(lambda: "nack" in (running.status("up").get("last_error") or ""), "a nack")
        assert running.status("up")["state"] == "refused"
        got: list[bytes] = []

        def take() -> bool:
            method, _, body = channel.basic_get("bounded", auto_ack=True)
            if method is not None:
                got.append(body)
            return set(got) == set(bodies(30))

        wait_for(take, "all of them")
        assert len(got) == 30
        channel.exchange_delete("later")


def test_a_loop_ends(node: Node, start: Start) -> None:
    """Up and down again: a message passes each link once."""
    loop = ROUTES.replace('remote = "central", queue = "down" }', 'remote = "central", queue = "up" }')
    loop = loop.replace('to = { queue = "down" }', 'to = { queue = "up" }')
    running = start(loop)
    publish(LOCAL, "up", bodies(20))
    wait_for(lambda: running.status("up").get("looped") == 20, "the loop to end")
    assert running.status("down")["moved"] == 20
    assert empty(LOCAL, "up") and empty(node.url, "up")


def test_a_password_is_never_said() -> None:
    """Whatever pika's error holds."""
    assert say(ValueError("amqp://user:secret@host/x refused")) == "amqp://host/x refused"
    assert say(pika.exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED")) == "403 ACCESS_REFUSED"

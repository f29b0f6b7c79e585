"""Links over a bad network, without rights, and whose queues are deleted; what ``haypile link status`` says of each."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haypile.cli.link import line
from tests.links.links import LOCAL, Running, connect, drain, empty, publish, wait_for
from tests.links.proxy import Proxy
from tests.links.test_links import ROUTES, WINDOW, bodies, in_order, unmarked
from tests.support.node import Node

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(180)]


@pytest.fixture
def queues(node: Node, state_directory: Path) -> Iterator[None]:
    """Empty ones at both ends."""
    for url in (LOCAL, node.url):
        with connect(url) as connection:
            for queue in ("up", "down"):
                connection.channel().queue_delete(queue)
                connection.channel().queue_declare(queue, durable=True)
    yield
    with connect(LOCAL):  # whoever comes next gives back what a killed one had
        pass


@pytest.fixture
def link(node: Node, queues: None, tmp_path: Path) -> Iterator[Running]:
    """The links between them, not yet started."""
    running = Running(tmp_path, ROUTES, CENTRAL_URL=node.url)
    yield running
    if running.process is not None:
        running.close()


def said(running: Running, name: str) -> str:
    """What a person sees."""
    command = [sys.executable, "-m", "haypile", "link", "status", "--url", LOCAL, name]
    return subprocess.run(command, env=running.environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_slow_network_that_is_cut(node: Node, queues: None, tmp_path: Path) -> None:
    """Small pieces, each late, and six cuts: none is lost, order is kept, what comes twice is marked."""
    proxy = Proxy(node.port)
    running = Running(tmp_path, ROUTES, CENTRAL_URL=proxy.url(node.url))
    try:
        proxy.delay, proxy.piece = 0.01, 1000
        running.start()
        wait_for(lambda: running.status("up").get("state") == "running", "the link to run")
        for number in range(6):
            for way, url in (("up", LOCAL), ("down", node.url)):
                publish(url, way, bodies(300, 300 * number))
            time.sleep(random.uniform(0, 0.4))
            proxy.cut()
        proxy.delay = 0
        up, down = drain(node.url, "up", 1800, 60), drain(LOCAL, "down", 1800, 60)
        assert in_order(up) == in_order(down) == bodies(1800)
        assert not unmarked(up) and not unmarked(down)
        assert max(len(up), len(down)) <= 1800 + 6 * WINDOW
        wait_for(lambda: "running" in said(running, "up"), "the link to be well")
        assert "WARNING link 'up'" in running.log.read_text(), "no cut hit anything"
    finally:
        running.close()
        proxy.close()


@pytest.mark.slow
def test_a_user_without_rights(node: Node, link: Running) -> None:
    """403: it waits, says so once, and goes on when the user may."""
    user, secret = "limited", "not-to-be-shown"

    def lacks_right(way: str) -> None:
        wait_for(lambda: "403" in (link.status(way).get("last_error") or ""), "a 403")

    node.control("add_user", user, secret)
    try:
        node.control("set_permissions", "-p", "/", user, "", "", "")
        url = node.url.replace("guest:guest", f"{user}:{secret}")
        link.environment["CENTRAL_URL"] = url
        link.start()
        publish(LOCAL, "up", bodies(100))
        publish(node.url, "down", bodies(100))
        for way, right in (("up", "access to exchange 'amq.default'"), ("down", "access to queue 'down'")):
            lacks_right(way)
            assert link.status(way)["state"] == "waiting"
            assert ": waiting, lag" in said(link, way)
            assert "last error: 403 ACCESS_REFUSED" in said(link, way) and right in said(link, way)
        node.control("set_permissions", "-p", "/", user, ".*", ".*", ".*")
        up, down = drain(node.url, "up", 100), drain(LOCAL, "down", 100)
        assert [body for _, _, body in up] == [body for _, _, body in down] == bodies(100)
        assert link.close() == 0
        log = link.log.read_text()
        assert secret not in log and secret not in said(link, "up")
        assert log.count("WARNING link 'up'") == 1, log
        assert "not running" in said(link, "up")
    finally:
        node.control("delete_user", user)


@pytest.mark.slow
def test_queues_are_deleted_under_the_link(node: Node, link: Running) -> None:
    """The one it takes from, here and there, and the one it fills: it waits for them to be there again."""
    link.start()
    publish(LOCAL, "up", bodies(50))
    publish(node.url, "down", bodies(50))
    assert len(drain(node.url, "up", 50)) == len(drain(LOCAL, "down", 50)) == 50

    def delete(url: str, queue: str) -> None:
        with connect(url) as connection:
            connection.channel().queue_delete(queue)

    def lacks(way: str, what: str) -> None:
        wait_for(lambda: what in (link.status(way).get("last_error") or ""), f"the link to say {what}")

    def shows(text: str, way: str) -> None:
        wait_for(lambda: text in said(link, way), f"the link to show {text}")

    for way, source, goal in (("up", LOCAL, node.url), ("down", node.url, LOCAL)):
        delete(source, way)
        lacks(way, "404 NOT_FOUND - no queue")
        assert link.status(way)["state"] == "waiting"
        publish(source, way, bodies(50, 50))
        assert in_order(drain(goal, way, 50)) == bodies(50, 50)
        delete(goal, way)
        publish(source, way, bodies(50, 100))
        lacks(way, "NO_ROUTE")
        shows(": refused, lag 50", way)
        assert in_order(drain(goal, way, 50)) == bodies(50, 100)
        shows(": running, lag 0", way)
        assert empty(source, way)


def test_deleted_while_it_moves(node: Node, link: Running) -> None:
    """The goal goes and comes back ten times in the middle: what reached it before is gone with it."""
    link.start()
    producer = threading.Thread(target=publish, args=(LOCAL, "up", bodies(3000)))
    producer.start()
    with connect(node.url) as connection:
        channel = connection.channel()
        for _ in range(10):
            time.sleep(random.uniform(0, 0.1))
            channel.queue_delete("up")
            channel.queue_declare("up", durable=True)
    producer.join()
    publish(LOCAL, "up", bodies(100, 3000))
    wait_for(lambda: empty(LOCAL, "up") and not link.status("up").get("in_hand", 1), "all to be moved")
    found = drain(node.url, "up", 0)
    # RabbitMQ confirms what a queue had when it was deleted. Of the window in hand when the queue came for the last
    # time, some were refused before and come after those in flight with them; the others may have gone with the queue
    # of the time before. All that followed is there, in order.
    numbers = [int(body) for body in in_order(found)]
    behind = min(numbers) + WINDOW
    assert len(numbers) >= 100
    assert numbers[sum(number < behind for number in numbers) :] == list(range(behind, 3100))
    assert not unmarked(found)


@pytest.mark.parametrize(
    ("state", "running", "shown"),
    [
        ("running", True, "l: running, lag 3, 5/s, 7 moved (a -> b)"),
        ("connecting", True, "l: connecting, lag 3"),
        ("waiting", True, "l: waiting, lag 3"),
        ("blocked", True, "l: blocked, lag 3"),
        ("refused", True, "l: refused, lag 3"),
        ("stopped", False, "l: not running, lag 3"),
        ("running", False, "l: not running, lag 3"),
    ],
)
def test_a_line_for_each_state(state: str, running: bool, shown: str) -> None:
    """What is told of it, and since when nothing is known."""
    told = {"name": "l", "from": "a", "to": "b", "state": state, "running": running, "lag": 3, "rate": 5.0, "moved": 7}
    text = line({**told, "at": time.time() - 9, "last_error": "why"})
    assert text.startswith(shown) and text.endswith("\n    last error: why")
    assert ("seen 9 s ago" in text) is not running

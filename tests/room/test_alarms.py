"""What a program sees while there is no room, here and with a RabbitMQ whose memory or disk alarm is on."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pika
import pytest

import haypile
from tests.room.conftest import PROGRAMS, Mount
from tests.support.node import Node
from tests.support.vhosts import Vhost

#: Of a message: more of them than what haypile keeps back of a disk.
SIZE = 200_000
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Publisher:
    """A SelectConnection that publishes with confirms, and what it is told."""

    def __init__(self, library: Any, url: str) -> None:
        self.told: list[str] = []
        self.confirmed = 0
        self.channel: Any = None
        self.connection = library.SelectConnection(library.URLParameters(url), on_open_callback=self._opened)
        self.turn(lambda: self.channel is not None)

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(lambda _, frame: self.told.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda *_: self.told.append("unblocked"))

        def ready(channel: Any) -> None:
            channel.confirm_delivery(self._confirm, lambda _: setattr(self, "channel", channel))

        connection.channel(on_open_callback=ready)

    def _confirm(self, frame: Any) -> None:
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        self.confirmed = frame.method.delivery_tag if frame.method.multiple else self.confirmed + 1

    def turn(self, until: Callable[[], bool], seconds: float = 20) -> bool:
        """Have the loop turn until something is so."""
        deadline = time.monotonic() + seconds
        loop = self.connection.ioloop
        while not until() and time.monotonic() < deadline:
            loop.call_later(0.02, loop.stop)
            loop.start()
        return until()

    def close(self) -> None:
        """In order."""
        self.connection.close()
        self.turn(lambda: self.connection.is_closed)


def observe(library: Any, url: str, alarm: Callable[[], None], relief: Callable[[], None]) -> dict[str, Any]:
    """Go through an alarm, and say what was seen."""
    seen: dict[str, Any] = {}
    blocked: list[str] = []
    consumer = library.BlockingConnection(library.URLParameters(url))
    consumer.add_on_connection_blocked_callback(lambda _, method: blocked.append(method.method.reason))
    channel = consumer.channel()
    channel.queue_declare("q", durable=True)
    publisher = Publisher(library, url)
    for _ in range(50):
        publisher.channel.basic_publish("", "q", bytes(SIZE), PERSISTENT)
    publisher.turn(lambda: publisher.confirmed == 50)
    alarm()
    seen["told before it publishes"] = publisher.turn(lambda: bool(publisher.told), 1.2)
    # RabbitMQ reads on what one read of the socket brought.
    for _ in range(20):
        publisher.channel.basic_publish("", "q", bytes(SIZE), PERSISTENT)
        publisher.turn(lambda: False, 0.03)
    seen["told when it publishes"] = publisher.turn(lambda: bool(publisher.told), 5)
    publisher.turn(lambda: False, 1)
    seen["reason"] = publisher.told[0]
    seen["most confirms are withheld"] = publisher.confirmed < 65
    held = publisher.confirmed
    got: list[int] = []

    def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
        got.append(len(body))
        ch.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    tag = channel.basic_consume("q", take)
    deadline = time.monotonic() + 10
    while len(got) < 30 and time.monotonic() < deadline:
        consumer.process_data_events(0.1)
    seen["consumers go on"] = len(got) >= 30
    channel.basic_cancel(tag)
    seen["others may connect and declare"] = declares(library, url)
    seen["a consumer is told"] = bool(blocked)
    publisher.turn(lambda: False, 0.5)
    seen["still withheld"] = publisher.confirmed == held
    relief()
    seen["unblocked"] = publisher.turn(lambda: publisher.told[-1] == "unblocked")
    seen["confirmed in the end"] = publisher.turn(lambda: publisher.confirmed == 70)
    tag = channel.basic_consume("q", take)
    deadline = time.monotonic() + 10
    while len(got) < 70 and time.monotonic() < deadline:
        consumer.process_data_events(0.1)
    seen["arrived"] = len(got)
    seen["told in turns"] = all((one == "unblocked") == bool(at % 2) for at, one in enumerate(publisher.told))
    seen["blocked how often"] = len(publisher.told) // 2
    publisher.close()
    channel.queue_delete("q")
    consumer.close()
    return seen


def declares(library: Any, url: str) -> bool:
    """A new connection makes and deletes a queue."""
    with library.BlockingConnection(library.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare("other")
        channel.queue_delete("other")
    return True


EXPECTED = {
    "told before it publishes": False,
    "told when it publishes": True,
    "most confirms are withheld": True,
    "consumers go on": True,
    "others may connect and declare": True,
    "a consumer is told": False,
    "still withheld": True,
    "unblocked": True,
    "confirmed in the end": True,
    "arrived": 70,
    "told in turns": True,
}


@pytest.mark.parametrize("resource", ["memory", "disk"])
def test_rabbitmq(node: Node, resource: str) -> None:
    """What RabbitMQ does, which is what is asked of haypile below."""
    if resource == "memory":
        alarm, relief = node.block, node.unblock
    else:

        def alarm() -> None:
            node.control("set_disk_free_limit", "100000GB")

        def relief() -> None:
            node.control("set_disk_free_limit", "1MB")

    seen = observe(pika, node.url, alarm, relief)
    assert seen.pop("reason") == f"low on {resource}"
    assert seen.pop("blocked how often") == 1
    assert seen == EXPECTED


def fill(ballast: Path, left: int) -> None:
    """Leave ``left`` bytes of the file system."""
    with open(ballast, "wb") as file:
        file.write(bytes(os.statvfs(ballast.parent).f_bavail * 4096 - left))


@pytest.mark.parametrize("resource", ["memory", "disk"])
def test_haypile(mount: Mount, resource: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, but for the reason: it begins with RabbitMQ's words, and says which limit and what to do."""
    state, journal = mount(size="64m"), mount(size="64m")
    monkeypatch.setenv("HAYPILE_DIR", str(state))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(journal))
    ballast = (state if resource == "memory" else journal) / "ballast"

    def alarm() -> None:
        fill(ballast, 1 << 20 if resource == "memory" else 16_384)

    seen = observe(haypile, "posix:///alarms", alarm, ballast.unlink)
    reason = seen.pop("reason")
    # What was kept back of the disk serves consumers, and lets a publisher through now and then.
    times = seen.pop("blocked how often")
    assert times == 1 if resource == "memory" else times >= 1
    assert reason.startswith(f"low on {resource}: ")
    assert str(state if resource == "memory" else journal) in reason
    assert seen == EXPECTED


# -- every loop ---------------------------------------------------------------------------------------------


def told(vhost: Vhost, loop: str, alarm: Callable[[], None], relief: Callable[[], None]) -> list[str]:
    """What a program on ``loop`` prints while an alarm comes and goes, and comes again."""
    program = subprocess.Popen(
        vhost.command(PROGRAMS / "loops_blocked.py", loop),
        env=vhost.process_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    try:
        assert program.stdout is not None
        for line in program.stdout:
            lines.append(line.strip())
            if line == "ready\n":
                alarm()
            elif line.startswith("blocked "):
                if not any(one.startswith("unblocked") for one in lines):
                    relief()
            elif line == "closed ConnectionBlockedTimeout\n":
                break
        assert program.wait(30) == 0, "\n".join(lines)
    finally:
        program.kill()
        program.communicate()
        relief()
    return lines


TOLD = [
    "ready",
    "blocked low on memory True",
    "unblocked Unblocked",
    "closed ConnectionClosedByClient",
    "ready",
    "blocked low on memory True",
    "closed ConnectionBlockedTimeout",
]


def test_an_asyncio_program_on_rabbitmq(node: Node) -> None:
    """Both callbacks, and pika's own timeout."""
    assert told(Vhost("amqp", node.url, {}), "asyncio", node.block, node.unblock) == TOLD


@pytest.mark.parametrize(
    "loop",
    [
        "select",
        "asyncio",
        *(
            pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
            for name in ("tornado", "gevent")
        ),
    ],
)
def test_a_program_on_each_loop(
    mount: Mount, transport: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same here."""
    state = mount(size="64m")
    monkeypatch.setenv("HAYPILE_DIR", str(state))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(state / "journal"))
    ballast = state / "ballast"
    lines = told(
        Vhost(transport, f"{transport}:///alarms", {}),
        loop,
        lambda: fill(ballast, 1 << 20),
        lambda: ballast.unlink(missing_ok=True),
    )
    assert [re.sub(r"^(blocked low on memory): .* (True)$", r"\1 \2", line) for line in lines] == TOLD

"""Space that a drained backlog took is there again for others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pika
import pytest

from tests.room.conftest import Mount, connect, depth
from tests.support.vhosts import Vhost

MIB = 1 << 20
#: What may stay in use: a quarter of the file system is not worth while (``hay.holes``), and what is no data.
LITTLE = 12 * MIB


@pytest.fixture
def vhost(transport: str, mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vhost:
    """A vhost in 32 MiB of shared memory, its journal on a disk."""
    monkeypatch.setenv("HAYPILE_DIR", str(mount(size="32m")))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(tmp_path / "journal"))
    return Vhost(transport, f"{transport}:///room", {})


def taken() -> int:
    """Bytes of the small file system that are in use."""
    state = os.statvfs(os.environ["HAYPILE_DIR"])
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def pile_up(vhost: Vhost, count: int = 2000) -> None:
    """A backlog of persistent messages of 10,000 bytes."""
    with connect(vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        for number in range(count):
            channel.basic_publish("", "q", b"%10d" % number * 1000, pika.BasicProperties(delivery_mode=2))


def drain(vhost: Vhost, then: Callable[[], None]) -> None:
    """Consume all of it, do ``then``, and leave."""
    with connect(vhost) as connection:
        channel = connection.channel()
        left = depth(channel)
        for number, (method, _, body) in enumerate(channel.consume("q", inactivity_timeout=5)):
            assert body == b"%10d" % number * 1000
            channel.basic_ack(method.delivery_tag)
            if number + 1 == left:
                break
        channel.cancel()
        then()


def test_by_the_one_who_leaves(vhost: Vhost) -> None:
    pile_up(vhost)
    assert taken() > 20 * MIB
    drain(vhost, lambda: None)
    assert taken() < LITTLE
    pile_up(vhost, 500)
    drain(vhost, lambda: None)


def test_while_somebody_stays(vhost: Vhost) -> None:
    """Within a second or two, by any connection whose loop turns."""
    with connect(vhost) as connection:
        pile_up(vhost)
        pid = os.fork()
        if pid == 0:
            # Killed before it could give anything back itself.
            drain(vhost, lambda: os.kill(os.getpid(), 9))
        os.waitpid(pid, 0)
        deadline = time.monotonic() + 20
        while taken() > LITTLE and time.monotonic() < deadline:
            connection.process_data_events(0.2)
        assert taken() < LITTLE
        assert connection.channel().queue_declare("q", durable=True, passive=True).method.message_count < 100

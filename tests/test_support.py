"""The fixtures themselves: a RabbitMQ that answers, vhosts that are fresh, leaks that are found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pika
import pytest

from tests.support import leaks, rabbitmq
from tests.support.kernel_queues import KernelQueues
from tests.support.vhosts import Vhost


@pytest.mark.rabbitmq
def test_rabbitmq_vhosts_are_fresh(make_vhost: Callable[[str], Vhost]) -> None:
    first, second = make_vhost("amqp"), make_vhost("amqp")
    assert first.url != second.url
    with pika.BlockingConnection(pika.URLParameters(first.url)) as connection:
        connection.channel().queue_declare("only here")
    with (
        pika.BlockingConnection(pika.URLParameters(second.url)) as connection,
        pytest.raises(pika.exceptions.ChannelClosedByBroker, match="404"),
    ):
        connection.channel().queue_declare("only here", passive=True)


def test_a_missing_rabbitmq_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rabbitmq.WAY_VARIABLE, "docker")
    monkeypatch.setattr(rabbitmq, "docker_answers", lambda: False)
    with pytest.raises(rabbitmq.NoRabbitMQ, match="no docker engine"):
        rabbitmq.get_broker(lambda: ("", ""))


def test_an_unreachable_url_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rabbitmq.URL_VARIABLE, "amqp://guest:guest@host.invalid:5672")
    monkeypatch.setenv(rabbitmq.API_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(rabbitmq.NoRabbitMQ, match="fresh vhosts cannot be made"):
        rabbitmq.get_broker()


def test_leaks_are_found() -> None:
    queues = KernelQueues()
    try:
        before = leaks.look(queues)
        read, write = os.pipe()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        found = leaks.left_behind(before, leaks.look(queues), [])
        assert any("child process" in line for line in found)
        assert sum("pipe:" in line for line in found) >= 2
        assert leaks.left_behind(before, leaks.look(queues), [child.pid]) != found
    finally:
        os.close(read)
        os.close(write)
        child.communicate()
        queues.close()


def test_vhosts_of_the_user_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "USERS", (tmp_path / "state", tmp_path / "journals"))
    monkeypatch.setenv("CI", "true")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    queues = KernelQueues()
    try:
        before = leaks.look(queues)
        left = tmp_path / "journals/place/posix"
        left.mkdir(parents=True)
        assert leaks.left_behind(before, leaks.look(queues), []) == [f"vhost or journal {left}"]
    finally:
        queues.close()


def test_kernel_queues_are_seen() -> None:
    import posix_ipc

    queues = KernelQueues()
    name = f"/haypile-see-{os.getpid()}"
    queue = posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_messages=1, max_message_size=1)
    try:
        names = queues.names()
        if names is None:
            pytest.skip("the mqueue file system cannot be mounted here")
        assert name in names
    finally:
        queue.unlink()
        queue.close()
        queues.close()

"""The same commands on every transport, a RabbitMQ included."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.cli.conftest import Call
from tests.support.vhosts import Vhost


def test_a_message_s_way(vhost: Vhost, haypile: Call) -> None:
    """Declared, bound, published, looked at, taken, deleted."""
    haypile(vhost, "declare", "queue", "tasks", "-a", "x-max-length=100")
    haypile(vhost, "declare", "exchange", "logs", "--type", "topic")
    haypile(vhost, "bind", "logs", "tasks", "--key", "*.error")
    haypile(vhost, "publish", "tasks", "one")
    haypile(vhost, "publish", "--exchange", "logs", "shop.error", "-H", "n=7", "--property", "type=x", given="two")
    first, second = map(json.loads, haypile(vhost, "peek", "tasks", "--json").stdout.splitlines())
    assert (first["body"], first["exchange"], first["routing_key"]) == ("one", "", "tasks")
    assert (second["body"], second["exchange"], second["routing_key"]) == ("two", "logs", "shop.error")
    assert second["properties"] == {"headers": {"n": 7}, "type": "x"}
    assert haypile(vhost, "peek", "tasks", "-n", "1").stdout == "one\n"
    assert haypile(vhost, "get", "tasks").stdout == "one\n"
    assert haypile(vhost, "get", "tasks", "--all").stdout == "two\n"
    assert haypile(vhost, "get", "tasks", code=3).stdout == ""
    haypile(vhost, "unbind", "logs", "tasks", "--key", "*.error")
    done = haypile(vhost, "publish", "--exchange", "logs", "shop.error", "three", code=1)
    assert done.stderr == "Error: no queue gets messages of exchange 'logs' with key 'shop.error' (0 were published)\n"
    assert haypile(vhost, "delete", "queue", "tasks", "--yes").stdout == "0\n"
    haypile(vhost, "delete", "exchange", "logs", "--yes")
    assert "404 NOT_FOUND - no queue 'tasks'" in haypile(vhost, "get", "tasks", code=1).stderr
    assert "404 NOT_FOUND - no exchange 'logs'" in haypile(vhost, "delete", "exchange", "logs", "-y", code=1).stderr


def test_lines_and_purge(vhost: Vhost, haypile: Call) -> None:
    haypile(vhost, "declare", "queue", "tasks")
    haypile(vhost, "publish", "tasks", "--lines", "--count", "2", given="a\nb\n")
    assert haypile(vhost, "consume", "tasks", "--count", "3").stdout == "a\nb\na\n"
    assert haypile(vhost, "consume", "tasks", "--idle", "0.5").stdout == "b\n"
    haypile(vhost, "publish", "tasks", "--lines", given="c\nd\n")
    refused = haypile(vhost, "purge", "tasks", code=2)
    assert "Remove 2 messages from queue 'tasks'? Nobody is there to ask: say --yes." in refused.stderr
    assert haypile(vhost, "purge", "tasks", "--yes").stdout == "2\n"
    assert haypile(vhost, "purge", "tasks", "--yes").stdout == "0\n"


def test_an_exchange_s_traffic(vhost: Vhost, haypile: Call) -> None:
    haypile(vhost, "declare", "exchange", "logs", "--type", "topic", "--transient")
    haypile(vhost, "declare", "queue", "marker")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "haypile", "consume", "--exchange", "logs", "--count", "2"],
        env=vhost.process_environment(HAYPILE_URL=vhost.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Until the watcher has bound its queue nobody gets the message.
        while subprocess.run(
            [sys.executable, "-m", "haypile", "publish", "--exchange", "logs", "a.b", "first"],
            env=vhost.process_environment(HAYPILE_URL=vhost.url),
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode:
            pass
        haypile(vhost, "publish", "--exchange", "logs", "c", "second")
        assert watcher.communicate(timeout=30)[0] == "first\nsecond\n"
    finally:
        watcher.kill()
        watcher.wait()


def test_bytes(vhost: Vhost, haypile: Call) -> None:
    haypile(vhost, "declare", "queue", "tasks")
    done = subprocess.run(
        [sys.executable, "-m", "haypile", "publish", "tasks", "--file", "-"],
        input=b"\xff\x00",
        env=vhost.process_environment(HAYPILE_URL=vhost.url),
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(haypile(vhost, "peek", "tasks", "--json").stdout)["body_base64"] == "/wA="

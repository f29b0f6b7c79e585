"""Limits of kernel queues and of a process: what is refused is said, and everything goes on another way."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pika.exceptions import AMQPConnectionError

from tests.room.conftest import PROGRAMS, Mount, Program, connect, consume, depth
from tests.support.vhosts import Vhost

Run = Callable[..., Program]

#: Queues that the programs below consume from at the same time.
QUEUES = 12


def limited(command: list[str], setting: str) -> list[str]:
    """``command`` where the shell text ``setting`` has changed the limits of a namespace of its own."""
    return ["unshare", "-i", "-m", "bash", "-c", f'{setting}; exec "$@"', "bash", *command]


def may_unshare(setting: str) -> bool:
    """Whether that is allowed."""
    done = subprocess.run(limited(["true"], setting), capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr


def many(vhost: Vhost, setting: str = "true", *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program that consumes from many queues, under the limits of ``setting``."""
    command = limited(vhost.command(PROGRAMS / "many.py", str(QUEUES), *arguments), setting)
    return subprocess.run(
        command, env=vhost.process_environment(), capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize(
    ("transport", "setting", "said"),
    [
        ("posix", "ulimit -q 300", r"RLIMIT_MSGQUEUE .*ulimit -q"),
        ("posix", "echo 3 > /proc/sys/fs/mqueue/queues_max", r"fs.mqueue.queues_max .*sysctl fs.mqueue.queues_max="),
        ("sysv", "echo 3 > /proc/sys/kernel/msgmni", r"sysctl kernel.msgmni="),
    ],
    ids=["RLIMIT_MSGQUEUE", "queues_max", "msgmni"],
)
def test_no_kernel_queue_left(transport: str, setting: str, said: str, state_directory: Path) -> None:
    """Queues beyond the limit work through the store: every message arrives, once, in order."""
    if not may_unshare(setting):
        pytest.skip(f"needs the right to say: unshare -i -m bash -c {setting!r}")
    vhost = Vhost(transport, f"{transport}:///limits", {})
    if transport == "posix" and "queues_max" in setting:
        # CAP_SYS_RESOURCE passes this limit over.
        setting += "; exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource -- " + '"$@"'
    done = many(vhost, setting)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["all", str(QUEUES * 30)]
    assert re.search(said, done.stderr), done.stderr


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_no_descriptor_left(transport: str, state_directory: Path) -> None:
    """A process at RLIMIT_NOFILE: an open connection goes on, another one is refused and says why."""
    vhost = Vhost(transport, f"{transport}:///limits", {})
    done = many(vhost, "true", "descriptors")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("refused: AMQPConnectionError") and "ulimit -n" in lines[0]
    assert lines[1].split() == ["all", str(QUEUES * 30)]


@pytest.mark.parametrize("transport", ["posix", "sysv"])
def test_no_inode_left(transport: str, mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file system without free inodes: open connections go on, another one is refused and says why."""
    directory = mount(size="8m", nr_inodes="40")
    monkeypatch.setenv("HAYPILE_DIR", str(directory))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(tmp_path / "journal"))
    vhost = Vhost(transport, f"{transport}:///inodes", {})
    with connect(vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        made = []
        for number in range(60):
            try:
                made.append(directory / f"ballast{number}")
                made[-1].touch()
            except OSError:
                made.pop()
                break
        with pytest.raises(AMQPConnectionError, match=r"cannot make .*No space left on device.*df -i"):
            connect(vhost)
        for number in range(500):
            channel.basic_publish("", "q", b"%d " % number + bytes(1000))
        # Its lane needs an inode, and so does its landing: the first is done without, the second waits.
        assert consume(channel, 500, auto_ack=True) == list(range(500))
        for number in range(50):
            channel.basic_publish("", "q", b"%d " % number)
        for path in made:
            path.unlink()
        assert consume(channel, 50) == list(range(50))
        assert depth(channel) == 0


def test_a_full_disk_under_the_journal(
    mount: Mount, monkeypatch: pytest.MonkeyPatch, state_directory: Path, run: Run
) -> None:
    """Persistent messages wait while the journal's disk is full, confirmed ones are on disk; transient ones go on."""
    disk = mount(size="4m")
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(disk))
    vhost = Vhost("posix", "posix:///journal", {})
    with connect(vhost) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.queue_declare("transient")
        publisher = run(vhost, "publish.py", "60", "100000", "confirm", "persistent")
        deadline = time.monotonic() + 20
        while "connection blocked" not in publisher.logged() and time.monotonic() < deadline:
            time.sleep(0.05)
        logged = publisher.logged()
        assert "low on disk" in logged and "HAYPILE_JOURNAL_DIR" in logged
        assert publisher.process.poll() is None
        channel.basic_publish("", "transient", b"goes on")
        assert channel.basic_get("transient", auto_ack=True)[2] == b"goes on"
        assert consume(channel, 60) == list(range(60))
        code, lines, _ = publisher.end()
        assert code == 0 and lines[-1] == "published 60"
        assert any(line.startswith("blocked: low on disk") for line in lines) and "unblocked" in lines

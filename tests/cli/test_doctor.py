"""haypile doctor: what it says of the kernel, and what it finds and cleans of killed processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lmdb
import posix_ipc
import pytest
from click.testing import CliRunner, Result

import haypile as pika
from haypile.cli.main import main
from haypile.doctor import limits
from haypile.hay.layout import BOOT_ROW
from haypile.lanes.limits import SIZES, LaneRoom, cost
from tests.support import leaks

TRANSPORTS = pytest.mark.parametrize("transport", ["posix", "sysv"])

#: Consumes with a message in hand, and says so.
CONSUMER = """
import sys
import haypile as pika
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.queue_declare("jobs")
channel.basic_publish("", "jobs", b"unfinished")
channel.basic_consume("jobs", lambda *_: print("got", flush=True))
channel.start_consuming()
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def report(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("--json", *arguments).output)
    return found


def killed_consumer(url: str) -> int:
    """The pid of a consumer that was killed with a message in hand."""
    process = subprocess.Popen([sys.executable, "-c", CONSUMER, url], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"got\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return process.pid


def test_the_kernels_limits(state_directory: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    words = result.output.split()
    for name in ("fs.mqueue.msg_max", "RLIMIT_MSGQUEUE", "kernel.msgmnb", "kernel.msgmni", "--ulimit", "ulimit"):
        assert name in words
    assert "none yet" in result.output and str(state_directory) in result.output
    facts = report()
    for name, value in (("msg_max", "fs/mqueue/msg_max"), ("queues_max", "fs/mqueue/queues_max")):
        assert facts["posix"][name] == int(Path("/proc/sys", value).read_text())
    assert facts["sysv"]["msgmnb"] == int(Path("/proc/sys/kernel/msgmnb").read_text())
    assert not facts["posix"]["missing"] and not facts["sysv"]["missing"]


def test_what_fits_by_default() -> None:
    """docs/kernel-limits.md has these numbers; they were bisected against a kernel with its defaults."""
    default = limits.PosixLimits("", 256, 10, 8192, 819_200, 819_200, None, None)
    by_size = {(maxmsg, msgsize): queues for maxmsg, msgsize, queues in limits.fitting(default)}
    assert by_size[10, 8192] == 9 and by_size[10, 4096] == 19 and by_size[10, 1024] == 73
    assert max(by_size.values()) == 256


def test_what_haypile_would_make_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    room = LaneRoom(limit=819_200, used=0, maxmsg=10, msgsize=8192)
    monkeypatch.setattr(LaneRoom, "measure", classmethod(lambda cls: room))
    lanes = limits.expected(limits.PosixLimits("", 256, 10, 8192, 819_200, 819_200, None, None))
    assert lanes[0][:2] == SIZES[0]
    assert sum(cost(maxmsg, msgsize) * count for maxmsg, msgsize, count in lanes) <= 819_200
    assert sum(count for _, _, count in lanes) > 9


@TRANSPORTS
def test_a_killed_consumer_is_found_and_cleaned(state_directory: Path, transport: str) -> None:
    url = f"{transport}:///some.vhost%2Fof mine".replace(" ", "%20")
    pid = killed_consumer(url)
    result = run()
    assert result.exit_code == 1
    assert f"process {pid} ended without closing" in result.output and "doctor --fix" in result.output
    [found] = report()["vhosts"]
    assert found["vhost"] == "some.vhost/of mine" and found["transport"] == transport
    assert [one["pid"] for one in found["dead"]] == [pid] and found["living"] == 0

    fixed = run("--fix")
    assert fixed.exit_code == 0 and "cleaned" in fixed.output
    [found] = report()["vhosts"]
    assert not found["dead"] and not found["stray_lanes"] and not found["litter"]
    assert not list((state_directory / transport).rglob("*.landing"))
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        method, _, body = connection.channel().basic_get("jobs", auto_ack=True)
        assert body == b"unfinished" and method.redelivered


@TRANSPORTS
def test_the_living_are_left_alone(state_directory: Path, transport: str) -> None:
    parameters = pika.URLParameters(f"{transport}:///living")
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare("jobs")
        got: list[bytes] = []
        channel.basic_consume("jobs", lambda *args: got.append(args[3]), auto_ack=True)
        channel.basic_publish("", "jobs", b"one")
        killed_consumer(f"{transport}:///living")
        fixed = subprocess.run([sys.executable, "-m", "haypile", "doctor", "--fix"], capture_output=True, text=True)
        assert fixed.returncode == 0, fixed.stdout + fixed.stderr
        assert "1 connection, in order" in fixed.stdout
        while len(got) < 2:
            connection.process_data_events(0.1)
        assert sorted(got) == [b"one", b"unfinished"]


@TRANSPORTS
def test_stray_lanes_and_litter(state_directory: Path, transport: str) -> None:
    from haypile.broker.vhost import lanes_of

    pika.BlockingConnection(pika.URLParameters(f"{transport}:///messy")).close()
    directory = state_directory / transport / "messy"
    announced: list[str] = []
    room = LaneRoom(limit=-1, used=0, maxmsg=1, msgsize=16)
    lanes = lanes_of(transport)
    lane = lanes.create("haypile-stray", room, announced.append)
    assert lane is not None
    (directory / "lanes").mkdir(mode=0o700, exist_ok=True)
    (directory / "lanes" / announced[-1]).touch(0o600)
    (directory / "sessions" / "4711.lock").touch(0o600)
    (directory / ".hay.half").mkdir(0o700)
    [found] = report()["vhosts"]
    assert found["stray_lanes"] == [announced[-1]]
    assert found["litter"] == [".hay.half", "sessions/4711.*"]
    assert run("--fix").exit_code == 0
    assert lanes.open(lane.name) is None, "the kernel queue is gone"
    assert not (directory / ".hay.half").exists() and not (directory / "sessions" / "4711.lock").exists()
    lane.close()


def test_a_store_of_another_boot(state_directory: Path) -> None:
    pika.BlockingConnection(pika.URLParameters("posix:///old?durability=host")).close()
    directory = state_directory / "posix" / "old"
    with lmdb.open(str(directory / "hay"), max_dbs=8) as env, env.begin(write=True) as txn:
        txn.put(BOOT_ROW, b"another boot")
    result = run()
    assert result.exit_code == 1 and "before the last boot" in result.output
    assert run("--fix").exit_code == 0
    [found] = report()["vhosts"]
    assert not found["other_boot"] and not found["litter"]


def test_what_cannot_be_looked_at_is_said(make_private_vhost: Callable[[], Path]) -> None:
    directory = make_private_vhost()
    os.chmod(directory, 0o755)
    result = run("--fix")
    assert result.exit_code == 1 and "chmod 700" in result.output
    os.chmod(directory, 0o700)


@pytest.fixture
def make_private_vhost(state_directory: Path) -> Callable[[], Path]:
    """Makes a vhost with nothing in it."""

    def make() -> Path:
        pika.BlockingConnection(pika.URLParameters("posix:///mine?durability=host")).close()
        return state_directory / "posix" / "mine"

    return make


@pytest.mark.parametrize("blocked", ["posix_ipc", "sysv_ipc"])
def test_without_one_kind_of_queues(state_directory: Path, blocked: str) -> None:
    program = f"import sys; sys.modules[{blocked!r}] = None; from haypile.cli.main import main; main(['doctor'])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "NOT USABLE" in result.stdout and blocked in result.stdout


@pytest.mark.parametrize("name", ["hay", "posix", "n" * 250, "/", "a~/b.c"])
def test_a_vhost_of_any_name(state_directory: Path, name: str) -> None:
    """Whatever its directory is called: ``hay`` is also what a store is called in the directory of a vhost."""
    url = f"posix:///{quote(name, safe='')}?durability=host"
    pika.BlockingConnection(pika.URLParameters(url)).close()
    [found] = report()["vhosts"]
    assert (found["vhost"], found["problem"], found["living"]) == (name, "", 0)
    assert [row["name"] for row in json.loads(CliRunner().invoke(main, ["vhosts", "--json"]).output)] == [name]


@TRANSPORTS
def test_a_removal_that_was_killed(state_directory: Path, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel queues are found by what stands in the renamed directory, by doctor or by another removal."""
    from haypile.admin import removal

    def is_there(label: str) -> bool:
        if transport == "sysv":
            return any(label == row.partition("/")[2] for row in leaks.sysv_queues())
        try:
            posix_ipc.MessageQueue("/" + label).close()
        except posix_ipc.ExistentialError:
            return False
        return True

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for number, remedy in enumerate((["doctor", "--fix"], ["reset", "--yes"])):
        url = f"{transport}:///{'gone' * 60}"
        killed_consumer(url)
        (announced,) = state_directory.rglob("lanes/*")
        assert is_there(announced.name)
        with monkeypatch.context() as patch:
            patch.setattr(removal, "bury", killed)
            CliRunner().invoke(main, ["reset", "--yes", "--url", url])
        result = run()
        assert result.exit_code == 1 and "its removal was interrupted" in result.output, number
        assert json.loads(CliRunner().invoke(main, ["vhosts", "--json"]).output) == []
        arguments = [*remedy, *(["--url", url] if remedy[0] == "reset" else [])]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        assert not is_there(announced.name)
        assert run().exit_code == 0 and not list((state_directory / transport).glob(".*"))

"""The examples print the same on a RabbitMQ and over kernel queues, each program its own process."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import posix_ipc
import pytest

from tests.support.vhosts import ROOT, Vhost

EXAMPLES = ROOT / "examples"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(vhost: Vhost) -> Iterator[Start]:
    """Starts an example against the vhost; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def starter(program: str, *arguments: str, until: str = "") -> subprocess.Popen[str]:
        # The examples say "localhost"; --url leads them to the vhost, be it here or on a RabbitMQ.
        command = [
            sys.executable,
            "-m",
            "haypile",
            "run",
            "--url",
            vhost.url,
            str(EXAMPLES / program),
            *arguments,
        ]
        process = subprocess.Popen(
            command, env=vhost.process_environment(), stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        if until:
            assert process.stdout.readline().startswith(until)
        return process

    yield starter
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> str:
    """What ``process`` still prints until it ends well."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def test_every_program_is_plain_pika() -> None:
    """They import pika and know nothing of haypile."""
    for path in EXAMPLES.rglob("*.py"):
        if path.parent.parent == EXAMPLES and path.parent.name in TUTORIALS:
            text = path.read_text()
            assert "import pika" in text and "haypile" not in text, path


TUTORIALS = {
    "hello_world",
    "work_queues",
    "publish_subscribe",
    "routing",
    "topics",
    "rpc",
    "publisher_confirms",
}


def test_hello_world(start: Start) -> None:
    """One producer, one consumer."""
    receiver = start("hello_world/receive.py", "1", until="Waiting")
    assert finish(start("hello_world/send.py")) == "Sent 'Hello World!'\n"
    assert finish(receiver) == "Received 'Hello World!'\n"


def test_work_queues(start: Start) -> None:
    """Two workers share the tasks, also those that were there before them."""
    long = "." * 8  # long enough for the second worker to come in time for its share
    for number in range(4):
        finish(start("work_queues/new_task.py", f"task {number}{long}"))
    workers = [start("work_queues/worker.py", "2", until="Waiting") for _ in range(2)]
    for number in range(4, 8):
        finish(start("work_queues/new_task.py", f"task {number}.."))
    outputs = [finish(worker).splitlines() for worker in workers]
    assert all(outputs), "one worker did everything"
    done = sorted(outputs[0] + outputs[1])
    assert done == [f"Done 'task {number}{long if number < 4 else '..'}'" for number in range(8)]


def test_publish_subscribe(start: Start) -> None:
    """Every listener gets every line."""
    listeners = [start("publish_subscribe/receive_logs.py", "2", until="Waiting") for _ in range(2)]
    for line in ("first", "second"):
        finish(start("publish_subscribe/emit_log.py", line))
    assert [finish(listener) for listener in listeners] == ["first\nsecond\n"] * 2


def test_routing(start: Start) -> None:
    """A listener gets the severities it asked for."""
    errors = start("routing/receive_logs_direct.py", "1", "error", until="Waiting")
    most = start("routing/receive_logs_direct.py", "2", "info", "error", until="Waiting")
    for severity in ("debug", "info", "error"):
        finish(start("routing/emit_log_direct.py", severity, f"a {severity}"))
    assert finish(errors) == "error: a error\n"
    assert finish(most) == "info: a info\nerror: a error\n"


def test_topics(start: Start) -> None:
    """Words, stars and hashes."""
    kernel = start("topics/receive_logs_topic.py", "2", "kern.*", until="Waiting")
    critical = start("topics/receive_logs_topic.py", "2", "*.critical", "#.disk", until="Waiting")
    for key in ("kern.info", "kern.critical", "app.web.critical", "app.web.disk"):
        finish(start("topics/emit_log_topic.py", key, "x"))
    assert finish(kernel) == "kern.info: x\nkern.critical: x\n"
    assert finish(critical) == "kern.critical: x\napp.web.disk: x\n"


def test_rpc(start: Start) -> None:
    """Two clients ask one server."""
    server = start("rpc/rpc_server.py", "4", until="Waiting")
    clients = [start("rpc/rpc_client.py", "10", "30") for _ in range(2)]
    assert [finish(client) for client in clients] == ["fib(10) = 55\nfib(30) = 832040\n"] * 2
    assert sorted(finish(server).splitlines()) == ["fib(10)"] * 2 + ["fib(30)"] * 2


def test_publisher_confirms(start: Start) -> None:
    """All safe, and the one that went nowhere came back."""
    output = finish(start("publisher_confirms/publisher_confirms.py", "100"))
    assert output == "100 messages confirmed, 100 in the queue\nreturned: NO_ROUTE\n"


@pytest.fixture
def shop(vhost: Vhost) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program of the shop; SHOP_URL is all that differs between here and a RabbitMQ."""
    running: list[subprocess.Popen[str]] = []

    def starter(program: str, *arguments: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, str(EXAMPLES / "shop" / program), *arguments],
                env=vhost.process_environment(SHOP_URL=vhost.url),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield starter
    for process in running:
        process.terminate()
        process.communicate()


def test_shop(shop: Callable[..., subprocess.Popen[str]]) -> None:
    """Orders come in over HTTP; some are paid at once, some later, some never. The same here and on a RabbitMQ."""
    web = shop("web.py", "0")
    assert web.stdout is not None
    url = web.stdout.readline().rpartition(" ")[2].strip()
    for number, card in enumerate(("good", "slow bank", "stolen", "good")):
        order = json.dumps({"number": number, "card": card}).encode()
        with urllib.request.urlopen(f"{url}/orders", order, timeout=20) as reply:
            assert (reply.status, json.load(reply)) == (202, {"accepted": number})
    said = finish(shop("worker.py", "4")).splitlines()
    assert said[0] == "Waiting for orders"
    about = {number: [line.partition(": ")[2] for line in said if f"Order {number}:" in line] for number in range(4)}
    silent = "the bank does not answer, attempt"
    assert about == {
        0: ["paid"],
        1: [f"{silent} 1", f"{silent} 2", "paid"],
        2: [f"{silent} 1", f"{silent} 2", "given up"],
        3: ["paid"],
    }
    with urllib.request.urlopen(url, timeout=20) as reply:
        assert json.load(reply) == {"orders": 0, "orders.retry": 0, "orders.failed": 1}


def test_demo_runs_from_a_clean_folder(tmp_path: Path, state_directory: Path) -> None:
    """The README's first command, with the environment that runs this test standing in for a fresh one."""
    venv = Path(sys.executable).parent.parent
    (tmp_path / "venv").symlink_to(venv)
    stamp = venv / ".haypile-none"
    made = not stamp.exists()
    stamp.touch()
    try:
        done = subprocess.run(
            ["bash", str(EXAMPLES / "demo")],
            env={
                **Vhost("posix", "posix:///demo", {}).process_environment(),
                "HAYPILE_VENV": str(tmp_path / "venv"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        if made:
            stamp.unlink()
    assert "Received 'Hello World!'" in done.stdout


def run_here(directory: Path, program: str, *arguments: str) -> subprocess.Popen[str]:
    """An example that imports haypile itself; its state is in ``directory``."""
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / program), *arguments],
        env={**os.environ, "HAYPILE_DIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_queues(state_directory: Path) -> None:
    output = finish(run_here(state_directory, "queues/workers.py"))
    squares = "".join(f" [x] {number} x {number} = {number * number}\n" for number in range(10))
    assert output == " [x] 10 results\n" + squares


def test_foreign_queue(state_directory: Path) -> None:
    name = f"/stranger-{secrets.token_hex(6)}"
    sensor = run_here(state_directory, "foreign_queue/sensor.py", name)
    deadline = time.monotonic() + 30
    while not exists(name):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    output = finish(run_here(state_directory, "foreign_queue/collect.py", name))
    assert finish(sensor) == " [x] Sent 10 readings\n"
    expected = [f" [x] reading {number}, priority {number % 3}" for number in range(10)]
    assert sorted(output.splitlines()) == expected
    assert not exists(name), "the sensor removed it"


def exists(name: str) -> bool:
    """Whether there is such a POSIX queue."""
    try:
        posix_ipc.MessageQueue(name).close()
    except posix_ipc.ExistentialError:
        return False
    return True


def test_asyncio(start: Start) -> None:
    """Coroutines on both sides."""
    consumer = start("asyncio_consumer/consumer.py", "3", until="waiting for messages")
    assert finish(start("asyncio_consumer/producer.py", "one", "two", "three")) == "sent 3\n"
    assert finish(consumer) == "received one\nreceived two\nreceived three\n"

"""Another user of the machine: what is ours cannot be read, written, listed, deleted, or taken in advance."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import posix_ipc
import pytest
import sysv_ipc

import haypile
from tests.hostile.test_places import in_child
from tests.support.vhosts import Vhost

#: Another user; no name is needed.
STRANGER = 54321

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")


def as_stranger(work: Callable[[], None]) -> int:
    """Run ``work`` in a child that is another user; its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory like /dev/shm: everybody may make files there, nobody may remove those of others."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        os.chmod(place, 0o1777)
        yield Path(place)


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Vhost:
    """A vhost below ``shared``, whose directory does not exist yet."""
    monkeypatch.setenv("HAYPILE_DIR", str(shared / "state"))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(shared / "journal"))
    return Vhost(request.param, f"{request.param}:///access", {})


@pytest.fixture
def busy(vhost: Vhost) -> Iterator[Any]:
    """A connection with a lane, a landing, messages in the store, and a journal."""
    connection = haypile.BlockingConnection(haypile.URLParameters(vhost.url))
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.basic_publish("", "q", bytes(20_000), haypile.BasicProperties(delivery_mode=2))
    channel.basic_publish("", "q", b"small")
    channel.basic_consume("q", lambda *_: None)
    connection.process_data_events(0.2)
    yield connection
    connection.close()


def labels(shared: Path) -> list[str]:
    """Of all lanes."""
    return [path.name for path in shared.rglob("lanes/*")]


def test_modes(vhost: Vhost, busy: Any, shared: Path) -> None:
    """Directories 0700, files and kernel queues 0600, whatever the umask."""
    for path in (shared / "state", shared / "journal"):
        for found in (path, *path.rglob("*")):
            mode = stat.S_IMODE(found.lstat().st_mode)
            assert mode == (0o700 if found.is_dir() else 0o600), f"{found}: {mode:o}"
    (label,) = labels(shared)
    if vhost.transport == "posix":
        queue = posix_ipc.MessageQueue("/" + label)
        assert stat.S_IMODE(os.fstat(queue.mqd).st_mode) == 0o600
        queue.close()
    else:
        assert sysv_ipc.MessageQueue(int(label), 0, 0o600, 8192).mode == 0o600


@needs_root
def test_nothing_for_a_stranger(vhost: Vhost, busy: Any, shared: Path) -> None:
    """Not to read, list, write or delete: neither files nor kernel queues."""
    paths = [path for top in ("state", "journal") for path in (shared / top, *(shared / top).rglob("*"))]
    names = labels(shared)
    assert names and len(paths) > 10

    def attack() -> None:
        for path in paths:
            for attempt in (
                lambda path=path: os.listdir(path),
                lambda path=path: open(path, "rb").close(),
                lambda path=path: open(path, "r+b").close(),
                lambda path=path: os.unlink(path),
                lambda path=path: os.rmdir(path),
                lambda path=path: os.rename(path, str(path) + "x"),
                lambda path=path: os.chmod(path, 0o777),
                lambda path=path: open(path / "new", "wb").close(),
            ):
                with pytest.raises(OSError):
                    attempt()
        for name in names:
            if vhost.transport == "posix":
                with pytest.raises(posix_ipc.PermissionsError):
                    posix_ipc.MessageQueue("/" + name)
                with pytest.raises(posix_ipc.PermissionsError):
                    posix_ipc.unlink_message_queue("/" + name)
            else:
                for mode in (0o600, 0):
                    with pytest.raises((sysv_ipc.PermissionsError, OSError)):
                        queue = sysv_ipc.MessageQueue(int(name), 0, mode, 8192)
                        queue.remove()
        with pytest.raises(haypile.exceptions.AMQPError, match=r"belongs to user|Permission denied"):
            haypile.BlockingConnection(haypile.URLParameters(vhost.url))

    assert as_stranger(attack) == 0
    busy.process_data_events(0)
    assert busy.channel().queue_declare("q", durable=True, passive=True).method.message_count == 0


def refused(vhost: Vhost, why: str) -> None:
    """A connection is refused, and says why."""
    with pytest.raises(haypile.exceptions.AMQPConnectionError, match=why):
        haypile.BlockingConnection(haypile.URLParameters(vhost.url))


@needs_root
@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (lambda place, _: os.mkdir(place, 0o700), "belongs to user 54321"),
        (lambda place, _: os.mkdir(place, 0o777), "belongs to user 54321"),
        (lambda place, target: os.symlink(target, place), "is a symbolic link"),
        (lambda place, _: os.symlink("/nowhere", place), "is a symbolic link"),
        (lambda place, _: open(place, "wb").close(), "is not a directory"),
        (lambda place, _: os.mkfifo(place), "is not a directory"),
    ],
    ids=["directory", "open directory", "symlink", "dangling symlink", "file", "fifo"],
)
def test_a_state_directory_taken_in_advance(
    vhost: Vhost, shared: Path, attack: Callable[[Path, Path], None], why: str
) -> None:
    """It is refused, and nothing is written there."""
    target = shared / "target"
    target.mkdir(0o700)

    assert as_stranger(lambda: attack(shared / "state", target)) == 0
    refused(vhost, why)
    assert not list(target.iterdir())


@needs_root
def test_a_journal_directory_taken_in_advance(vhost: Vhost, shared: Path) -> None:
    """Nothing durable is written where somebody else may put another directory in its place."""
    assert as_stranger(lambda: (shared / "journal").mkdir(0o777)) == 0

    def declare() -> None:
        connection = haypile.BlockingConnection(haypile.URLParameters(vhost.url))
        with pytest.raises(haypile.exceptions.AMQPError, match="belongs to user 54321"):
            connection.channel().queue_declare("q", durable=True)

    assert in_child(declare) == 0
    assert not list((shared / "journal").iterdir())


@needs_root
def test_a_state_directory_open_to_others(vhost: Vhost, shared: Path) -> None:
    (shared / "state").mkdir()
    (shared / "state").chmod(0o755)
    refused(vhost, "is open to other users .*chmod 700")


@needs_root
def test_kernel_queues_taken_in_advance(
    vhost: Vhost, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are random, and a queue that is there already is never taken for ours."""
    taken = "0123456789abcdef"
    made: list[str] = []

    def make() -> None:
        os.umask(0)
        if vhost.transport == "posix":
            for prefix in made:
                posix_ipc.MessageQueue(f"/{prefix}-{taken}", posix_ipc.O_CREX, mode=0o666).close()
        else:
            sysv_ipc.MessageQueue(4711, sysv_ipc.IPC_CREX, 0o666)

    from haypile.lanes.posix import PosixLanes
    from haypile.lanes.sysv import SysVLanes

    made.append("haypile-access")
    assert as_stranger(make) == 0
    answers = [taken, "fedcba9876543210"]
    monkeypatch.setattr("haypile.lanes.posix.random_part", lambda: answers.pop(0))
    keys = [4711, 4815]
    monkeypatch.setattr("haypile.lanes.sysv.random_key", lambda: keys.pop(0))
    lanes = PosixLanes() if vhost.transport == "posix" else SysVLanes()
    lane = lanes.create("haypile-access")
    try:
        assert lane is not None
        assert lane.name == "/haypile-access-fedcba9876543210" or lane.name.endswith("/4815")
    finally:
        if lane is not None:
            lane.close()
            lane.unlink()
        if vhost.transport == "posix":
            posix_ipc.unlink_message_queue(f"/haypile-access-{taken}")
        else:
            sysv_ipc.MessageQueue(4711, 0, 0, 8192).remove()


def test_nothing_unpickles() -> None:
    """No module on the AMQP path names pickle, marshal's or shelve's loaders, eval or exec; none is imported either."""
    source = Path(haypile.__file__).parent
    for room in ("broker", "hay", "lanes", "wires", "fronts", "adapters", "links"):
        for path in (source / room).rglob("*.py"):
            text = path.read_text()
            for word in ("import pickle", "pickle.load", "import marshal", "shelve", "yaml.load", "eval(", "exec("):
                assert word not in text, f"{path} has {word}"
    program = (
        "import sys; import pickle; "
        "fail = lambda *a, **k: sys.exit('unpickled'); "
        "pickle.loads = pickle.load = pickle.Unpickler = fail; "
        "import _pickle; _pickle.loads = _pickle.load = _pickle.Unpickler = fail; "
        "import haypile; c = haypile.BlockingConnection(haypile.URLParameters('posix:///nopickle')); h = c.channel(); "
        "h.queue_declare('q'); h.basic_publish('', 'q', b'\\x80\\x04]q', haypile.BasicProperties(headers={'a': [1]})); "
        "print(h.basic_get('q', auto_ack=True)[2]); c.close()"
    )
    with tempfile.TemporaryDirectory() as place:
        environment = os.environ | {"HAYPILE_DIR": place + "/state", "HAYPILE_JOURNAL_DIR": place + "/journal"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
    assert done.stdout == "b'\\x80\\x04]q'\n", done.stderr


@pytest.mark.parametrize("way", ["url", "variable", "credentials", "broken"])
def test_credentials_are_not_told(way: str, shared: Path) -> None:
    """Of a remote RabbitMQ: not in logs (of ours), texts, tracebacks or state."""
    secret = "s3cr3t-pass"
    url = f"amqp://someone:{secret}@127.0.0.2:1/v"
    programs = {
        "url": f"haypile.BlockingConnection(haypile.URLParameters({url!r} + '?connection_attempts=1'))",
        "variable": "haypile.BlockingConnection(haypile.ConnectionParameters())",
        "credentials": (
            "haypile.BlockingConnection(haypile.ConnectionParameters('198.51.100.1', socket_timeout=0.2, "
            f"credentials=haypile.PlainCredentials('someone', {secret!r})))"
        ),
        "broken": "haypile.BlockingConnection(haypile.ConnectionParameters())",
    }
    program = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG); import haypile\n"
        f"try:\n    {programs[way]}\nexcept Exception as error:\n    print(repr(error), error, file=sys.stderr)\n"
    )
    environment = dict(os.environ) | {"HAYPILE_DIR": str(shared / "state"), "HAYPILE_JOURNAL_DIR": str(shared / "j")}
    environment.pop("HAYPILE_URL", None)
    if way == "variable":
        environment["HAYPILE_URL"] = url
    elif way == "broken":
        environment["HAYPILE_URL"] = f"amqp://someone:{secret}@127.0.0.2:port/v"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stderr and secret not in done.stderr + done.stdout
    for path in shared.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()

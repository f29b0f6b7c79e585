"""A vhost that is shared with a group: its members use it like one user; nobody else is let in."""

from __future__ import annotations

import errno
import os
import signal
import stat
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import posix_ipc
import pytest
import sysv_ipc

import haypile
import haypile.broker.session  # another user may not be able to read this Python's files: all is imported now
import haypile.lanes.posix
import haypile.lanes.sysv
from haypile import targets
from haypile.doctor import leftovers
from haypile.hay import places
from haypile.hay.errors import UnusableDirectory
from haypile.hay.places import MOMENT, make_private
from haypile.queues import place
from tests.support.vhosts import Vhost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")

#: The group, two of its members, and somebody else with a group of his own.
GROUP, FIRST, SECOND, STRANGER = 54_300, 54_301, 54_302, 54_309


def as_user(user: int, work: Callable[[], None], *, member: bool = True) -> int:
    """Start ``work`` in a child that is ``user``, whose own group is another one; its process."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([GROUP] if member else [])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def run(user: int, work: Callable[[], None], *, member: bool = True) -> None:
    """``work`` as ``user`` ends well."""
    assert ended(as_user(user, work, member=member)) == 0


def ended(pid: int) -> int:
    """The exit status of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What lmdb and others import when they are first used, these users may not be able to read either."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        for transport in ("posix", "sysv"):
            url = f"{transport}:///warm?dir={directory}&durability=host"
            with connect(url) as connection:
                channel = connection.channel()
                channel.queue_declare("q")
                channel.basic_consume("q", lambda *_: None)
                channel.basic_publish("", "q", b"")
                connection.process_data_events(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory like /dev/shm: everybody may make files there, nobody may remove those of others."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        os.chmod(place, 0o1777)
        yield Path(place)


@pytest.fixture(params=["posix", "sysv"])
def vhost(request: pytest.FixtureRequest, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Vhost:
    """A vhost of the group below ``shared``, which does not exist yet."""
    monkeypatch.setenv("HAYPILE_DIR", str(shared / "state"))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(shared / "journal"))
    return Vhost(request.param, f"{request.param}:///access?group={GROUP}", {})


def connect(url: str) -> Any:
    """A blocking connection."""
    return haypile.BlockingConnection(haypile.URLParameters(url))


def publish(vhost: Vhost, numbers: range) -> None:
    """Confirmed, persistent messages."""
    with connect(vhost.url) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        for number in numbers:
            channel.basic_publish("", "q", b"%d" % number, haypile.BasicProperties(delivery_mode=2))


def consume(vhost: Vhost, count: int) -> list[int]:
    """Take ``count`` messages by a consumer that acknowledges."""
    got: list[int] = []
    with connect(vhost.url) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)

        def take(ch: Any, method: Any, properties: Any, body: bytes) -> None:
            got.append(int(body))
            ch.basic_ack(method.delivery_tag)

        channel.basic_consume("q", take)
        deadline = time.monotonic() + 20
        while len(got) < count and time.monotonic() < deadline:
            connection.process_data_events(0.1)
    return got


def expect(vhost: Vhost, numbers: list[int]) -> Callable[[], None]:
    """``consume``, which finds ``numbers``."""

    def work() -> None:
        got = consume(vhost, len(numbers))
        assert got == numbers, got

    return work


def test_members_share_it(vhost: Vhost, shared: Path) -> None:
    """One publishes and another one consumes, in turns and at once; the journal is shared, too."""
    run(FIRST, lambda: publish(vhost, range(20)))
    run(SECOND, expect(vhost, list(range(20))))
    consumer = as_user(SECOND, expect(vhost, list(range(100))))
    publishers = [as_user(FIRST, lambda: publish(vhost, range(100)))]
    assert [ended(pid) for pid in (*publishers, consumer)] == [0, 0]
    run(SECOND, lambda: publish(vhost, range(5)))
    run(FIRST, expect(vhost, list(range(5))))


def test_modes(vhost: Vhost, shared: Path) -> None:
    """Directories 2770, files and kernel queues 0660, all of them the group's, whatever the umask."""

    def work() -> None:
        with connect(vhost.url) as connection:
            channel = connection.channel()
            channel.queue_declare("q", durable=True)
            channel.basic_publish("", "q", bytes(20_000), haypile.BasicProperties(delivery_mode=2))
            channel.basic_consume("q", lambda *_: None)
            connection.process_data_events(0.2)
            for path in (shared / "state", shared / "journal"):
                for found in (path, *path.rglob("*")):
                    state = found.lstat()
                    wanted = 0o2770 if found.is_dir() else 0o660
                    assert (stat.S_IMODE(state.st_mode), state.st_gid) == (wanted, GROUP), f"{found}: {state}"
            (label,) = [path.name for path in shared.rglob("lanes/*")]
            if vhost.transport == "posix":
                queue = posix_ipc.MessageQueue("/" + label)
                state = os.fstat(queue.mqd)
                assert (stat.S_IMODE(state.st_mode), state.st_gid) == (0o660, GROUP)
                queue.close()
            else:
                made = sysv_ipc.MessageQueue(int(label), 0, 0o600, 8192)
                assert (made.mode, made.gid) == (0o660, GROUP)

    run(FIRST, work)


def test_a_killed_member_is_recovered_by_another(vhost: Vhost, shared: Path) -> None:
    """What it held comes back at once, marked redelivered; a living one is not taken for dead."""
    run(FIRST, lambda: publish(vhost, range(10)))

    def hold() -> None:
        connection = connect(vhost.url)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        got: list[int] = []
        channel.basic_consume("q", lambda c, m, p, body: got.append(int(body)))
        while len(got) < 10:
            connection.process_data_events(0.1)
        (shared / "held").touch()
        while True:
            connection.process_data_events(1)

    holder = as_user(FIRST, hold)
    deadline = time.monotonic() + 20
    while not (shared / "held").exists() and time.monotonic() < deadline:
        time.sleep(0.02)

    def look(count: int) -> Callable[[], None]:
        def work() -> None:
            with connect(vhost.url) as connection:
                channel = connection.channel()
                assert channel.queue_declare("q", durable=True, passive=True).method.message_count == count

        return work

    try:
        run(SECOND, look(0))
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    run(SECOND, look(10))

    def take() -> None:
        with connect(vhost.url) as connection:
            channel = connection.channel()
            for number in range(10):
                method, _, body = channel.basic_get("q", auto_ack=True)
                assert method.redelivered and int(body) == number

    run(SECOND, take)
    # Nobody else may remove the dead one's kernel queue: it goes with the next consumer of its user.
    run(FIRST, lambda: consume(vhost, 0).clear())


def test_kernel_queues_of_a_member(vhost: Vhost, shared: Path) -> None:
    """A lane that another member made is used, emptied and left by us, and removed by its maker's next connection."""

    def start_and_die() -> None:
        connection = connect(vhost.url)
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.basic_consume("q", lambda *_: None)
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(as_user(FIRST, start_and_die)) == -signal.SIGKILL
    run(SECOND, lambda: publish(vhost, range(30)))
    run(SECOND, expect(vhost, list(range(30))))
    assert len(list(shared.rglob("lanes/*"))) == 1
    consumer = as_user(SECOND, expect(vhost, list(range(200))))
    run(FIRST, lambda: publish(vhost, range(200)))
    assert ended(consumer) == 0

    def delete() -> None:
        with connect(vhost.url) as connection:
            connection.channel().queue_delete("q")

    run(SECOND, delete)
    assert len(list(shared.rglob("lanes/*"))) == 1
    run(FIRST, lambda: connect(vhost.url).close())
    assert not list(shared.rglob("lanes/*"))


def refused(url: str, why: str) -> Callable[[], None]:
    """A connection is refused, and says why."""

    def work() -> None:
        with pytest.raises(haypile.exceptions.AMQPConnectionError, match=why):
            connect(url)

    return work


def test_others_are_not_let_in(vhost: Vhost, shared: Path) -> None:
    """Neither by files nor by kernel queues; and a user that is not in the group is told so."""

    def hold() -> None:
        connection = connect(vhost.url)
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.basic_consume("q", lambda *_: None)
        (shared / "ready").touch()
        while (shared / "ready").exists():
            connection.process_data_events(0.1)
        connection.close()

    holder = as_user(FIRST, hold)
    while not (shared / "ready").exists():
        time.sleep(0.02)
    paths = [path for top in ("state", "journal") for path in (shared / top, *(shared / top).rglob("*"))]
    (label,) = [path.name for path in shared.rglob("lanes/*")]

    def attack() -> None:
        for path in paths:
            for attempt in (
                lambda path=path: os.listdir(path),
                lambda path=path: open(path, "rb").close(),
                lambda path=path: open(path, "r+b").close(),
                lambda path=path: os.rename(path, str(path) + "x"),
                lambda path=path: open(path / "new", "wb").close(),
            ):
                with pytest.raises(OSError):
                    attempt()
        with pytest.raises((posix_ipc.PermissionsError, sysv_ipc.PermissionsError)):
            if vhost.transport == "posix":
                posix_ipc.MessageQueue("/" + label)
            else:
                sysv_ipc.MessageQueue(int(label), 0, 0o600, 8192)
        refused(vhost.url, f"user {STRANGER} is not in group")()

    try:
        run(STRANGER, attack, member=False)
    finally:
        (shared / "ready").unlink()
        assert ended(holder) == 0


def test_with_and_without_the_group(vhost: Vhost, shared: Path) -> None:
    """A directory is shared with one group or with none, and a URL that says otherwise is refused."""
    run(FIRST, lambda: publish(vhost, range(1)))
    plain = f"{vhost.transport}:///access"
    run(FIRST, refused(plain, f"is shared with group {GROUP}; add group={GROUP} to the URL"))
    run(SECOND, refused(plain, f"belongs to user {FIRST}"))
    run(FIRST, refused(f"{plain}?group={FIRST}", f"is not shared with group {FIRST}"))
    os.environ["HAYPILE_DIR"] = str(shared / "private")
    run(FIRST, lambda: connect(f"{plain}?durability=host").close())
    run(FIRST, refused(vhost.url, f"is not shared with group {GROUP}: it has group {FIRST} and mode 0700"))
    run(SECOND, refused(vhost.url, f"is not shared with group {GROUP}"))


def test_a_directory_taken_in_advance(vhost: Vhost, shared: Path) -> None:
    """By somebody who is not in the group: he cannot give it the group, so it is refused."""
    for mode in (0o700, 0o777, 0o2770, 0o2777):

        def squat(mode: int = mode) -> None:
            (shared / "state").mkdir()
            (shared / "state").chmod(mode)

        run(STRANGER, squat, member=False)
        run(FIRST, refused(vhost.url, f"is not shared with group {GROUP}"))
        assert not list((shared / "state").iterdir())
        (shared / "state").rmdir()
    (shared / "target").mkdir()
    os.chown(shared / "target", FIRST, GROUP)
    (shared / "target").chmod(0o2770)
    run(STRANGER, lambda: os.symlink(shared / "target", shared / "state"), member=False)
    run(FIRST, refused(vhost.url, "is a symbolic link"))
    assert not list((shared / "target").iterdir())


def test_a_journal_of_its_own(vhost: Vhost, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own journals are no place for the group's: it must be said where they are, or that there is none."""
    monkeypatch.delenv("HAYPILE_JOURNAL_DIR")
    run(FIRST, refused(vhost.url, "set HAYPILE_JOURNAL_DIR .* or add durability=host"))
    run(FIRST, lambda: connect(vhost.url + "&durability=host").close())
    run(SECOND, lambda: connect(vhost.url + "&durability=host").close())


def test_what_else_looks_at_it(vhost: Vhost, shared: Path) -> None:
    """``haypile doctor`` looks into it and cleans it; haypile.queues does not unpickle what other members wrote."""
    run(FIRST, lambda: publish(vhost, range(3)))

    def die() -> None:
        connect(vhost.url).channel().basic_get("q")
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(as_user(FIRST, die)) == -signal.SIGKILL

    def clean() -> None:
        (found,) = leftovers.look(shared / "state")
        assert not found.problem and len(found.dead) == 1
        leftovers.fix(shared / "state", found)
        assert found.fixed and not found.problem
        assert not leftovers.look(shared / "state")[0].leftovers

    run(SECOND, clean)
    run(SECOND, expect(vhost, [0, 1, 2]))
    target = targets.local_target(targets.parse_local(vhost.url), "/")  # type: ignore[arg-type]
    assert not place.is_private(target)
    again = targets.parse_local(targets.outright(target))
    assert again is not None and again.options.group == GROUP


def test_the_directory_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HAYPILE_DIR it is /dev/shm/haypile-g-GROUP, made by whoever comes first: all at once, here."""
    monkeypatch.delenv("HAYPILE_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    place = Path(f"/dev/shm/haypile-g-{GROUP}")
    assert not place.exists()
    url = f"posix:///first?group={GROUP}&durability=host"
    try:
        children = [as_user(user, lambda: connect(url).close()) for user in (FIRST, SECOND) * 3]
        assert [ended(pid) for pid in children] == [0] * 6
        assert place.stat().st_gid == GROUP
    finally:
        import shutil

        shutil.rmtree(place, ignore_errors=True)


def test_a_directory_that_another_member_makes_just_now(shared: Path) -> None:
    """It is its maker's alone for a moment, before it is the group's: who comes by then waits; if it stays so, it is
    said what to do."""
    top = shared / "state"
    make_private(top, group=GROUP)

    def halfway() -> None:
        (top / "posix").mkdir(mode=0o700)

    run(FIRST, halfway)
    run(SECOND, lambda: _refused(top / "posix" / "vhost"))

    def finish() -> None:
        os.chown(top / "posix", -1, GROUP)
        os.chmod(top / "posix", 0o2770)

    opened = threading.Timer(MOMENT / 2, finish)
    opened.start()
    run(SECOND, lambda: make_private(top / "posix" / "vhost"))
    opened.join()
    assert (top / "posix" / "vhost").stat().st_gid == GROUP


@pytest.mark.parametrize("times", [1, 9])
def test_a_directory_that_another_member_has_made_by_now(
    shared: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It was its maker's alone when it was tried, and is the group's at the next look; or something else is wrong."""
    top, real, left = shared / "state", places.make_new, [PermissionError(errno.EACCES, "Permission denied")] * times
    make_private(top, group=GROUP)
    make_private(top / "posix" / "first")

    def make_new(path: Path, group: int | None = places.AS_ABOVE) -> None:
        if left:
            raise left.pop()
        real(path, group)

    monkeypatch.setattr(places, "make_new", make_new)
    if times == 1:
        run(SECOND, lambda: make_private(top / "posix" / "first" / "sessions"))
        assert (top / "posix" / "first" / "sessions").stat().st_gid == GROUP
    else:
        with pytest.raises(UnusableDirectory, match=r"cannot make .*sessions: Permission denied"):
            make_private(top / "posix" / "first" / "sessions")


def _refused(path: Path) -> None:
    with pytest.raises(UnusableDirectory, match=r"is not shared with group 54300.*chmod 2770"):
        make_private(path)

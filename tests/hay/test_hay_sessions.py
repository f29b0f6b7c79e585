"""Sessions: who lives, who died, who recovers, and bells."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from haypile.hay.sessions import SessionFile, dead_sessions, ring, seize
from haypile.hay.store import Hay

Start = Callable[[Callable[[], None]], int]


def leave(hay: Hay, session: SessionFile) -> None:
    with hay.write() as txn:
        txn.delete_session(session.id)
    session.close()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Other:
    """A session of another process."""

    def __init__(self, hay: Hay, child: Start) -> None:
        ready, told = os.pipe()

        def live() -> None:
            self.session = SessionFile.create(hay, b"other")
            os.write(told, self.session.id.to_bytes(4, "big"))
            signal.pause()

        self.pid = child(live)
        self.id = int.from_bytes(os.read(ready, 4), "big")
        os.close(ready)
        os.close(told)


def test_a_session_comes_and_goes(hay: Hay, place: Path) -> None:
    session = SessionFile.create(hay, b"info")
    assert session.id == 1
    assert sorted(os.listdir(place / "sessions")) == ["1.bell", "1.lock"]
    assert session.landing_path() == place / "sessions" / "1.landing"
    with hay.read() as txn:
        assert txn.sessions() == [(1, b"info")] and txn.session_ids() == [1]
    assert dead_sessions(hay) == []
    epoch = hay.gates.epoch
    leave(hay, session)
    session.close()
    assert os.listdir(place / "sessions") == []
    assert hay.gates.epoch != epoch
    assert dead_sessions(hay) == []
    second = SessionFile.create(hay, b"")
    assert second.id == 2
    leave(hay, second)


def test_the_dead_are_told_from_the_living(hay: Hay, child: Start) -> None:
    mine = SessionFile.create(hay, b"mine")
    others = [Other(hay, child) for _ in range(3)]
    assert dead_sessions(hay) == []
    kill(others[1].pid)
    assert dead_sessions(hay) == [others[1].id]

    def look() -> None:
        assert dead_sessions(hay) == [others[1].id]

    assert os.waitpid(child(look), 0)[1] == 0
    assert dead_sessions(hay) == [others[1].id]
    os.kill(others[0].pid, signal.SIGKILL)
    os.waitpid(others[0].pid, 0)
    assert dead_sessions(hay) == [others[0].id, others[1].id]
    leave(hay, mine)


def test_a_forked_child_does_not_keep_its_parent_alive(hay: Hay, child: Start) -> None:
    """The child of a killed process lives on; the session is dead all the same."""
    ready, told = os.pipe()

    def parent() -> None:
        session = SessionFile.create(hay, b"parent")
        grandchild = os.fork()
        if not grandchild:
            session.close()
            os.write(told, os.getpid().to_bytes(4, "big"))
            signal.alarm(20)
        signal.pause()

    pid = child(parent)
    grandchild = int.from_bytes(os.read(ready, 4), "big")
    assert dead_sessions(hay) == []
    kill(pid)
    os.kill(grandchild, 0)
    assert dead_sessions(hay) == [1]
    os.kill(grandchild, signal.SIGKILL)
    os.close(ready)
    os.close(told)


def test_one_recovers(hay: Hay, place: Path, child: Start) -> None:
    other = Other(hay, child)
    kill(other.pid)
    (place / "sessions" / f"{other.id}.landing").write_bytes(b"")

    def try_to() -> None:
        with seize(hay, other.id) as grave:
            assert grave is None

    with seize(hay, other.id) as grave:
        assert grave is not None and grave.landing_path().exists()
        assert os.waitpid(child(try_to), 0)[1] == 0
        assert dead_sessions(hay) == []
        again: list[object] = []
        thread = threading.Thread(target=lambda: again.append(seize(hay, other.id).__enter__()))
        thread.start()
        thread.join()
        assert again == [None]
    assert dead_sessions(hay) == [other.id], "it was not recovered, its row is there"
    with seize(hay, other.id) as grave, hay.write() as txn:
        assert grave is not None and txn.session(other.id) == b"other"
        txn.delete_session(other.id)
    assert os.listdir(place / "sessions") == []
    assert dead_sessions(hay) == []


def test_a_failed_recovery_can_be_tried_again(hay: Hay, child: Start) -> None:
    other = Other(hay, child)
    kill(other.pid)
    with pytest.raises(ZeroDivisionError), seize(hay, other.id), hay.write() as txn:
        txn.delete_session(other.id)
        raise ZeroDivisionError
    assert dead_sessions(hay) == [other.id]


def test_a_killed_recoverer_can_be_followed(hay: Hay, child: Start) -> None:
    other = Other(hay, child)
    kill(other.pid)
    ready, told = os.pipe()

    def recover() -> None:
        with seize(hay, other.id) as grave:
            assert grave is not None
            os.write(told, b"!")
            signal.pause()

    pid = child(recover)
    os.read(ready, 1)
    with seize(hay, other.id) as grave:
        assert grave is None
    kill(pid)
    with seize(hay, other.id) as grave:
        assert grave is not None
    os.close(ready)
    os.close(told)


def test_the_living_cannot_be_seized(hay: Hay, child: Start) -> None:
    mine, other = SessionFile.create(hay, b""), Other(hay, child)
    for session in (mine.id, other.id):
        with seize(hay, session) as grave:
            assert grave is None
    assert dead_sessions(hay) == []
    kill(other.pid)
    assert dead_sessions(hay) == [other.id]
    leave(hay, mine)


def test_a_row_without_files_is_dead_and_can_be_seized(hay: Hay, place: Path) -> None:
    with hay.write() as txn:
        txn.put_session(txn.next_id("session"), b"")
    assert dead_sessions(hay) == [1]
    with seize(hay, 1) as grave, hay.write() as txn:
        assert grave is not None
        txn.delete_session(1)
    assert os.listdir(place / "sessions") == []


def test_files_without_a_row_are_swept(hay: Hay, place: Path) -> None:
    for name in ("1.lock", "1.bell", "7.landing"):
        (place / "sessions" / name).write_bytes(b"")
    session = SessionFile.create(hay, b"")
    assert session.id == 1
    assert sorted(os.listdir(place / "sessions")) == ["1.bell", "1.lock"]
    leave(hay, session)


def test_bells(hay: Hay, child: Start) -> None:
    mine, other = SessionFile.create(hay, b""), Other(hay, child)
    assert select.select([mine.bell.fd], [], [], 0)[0] == []
    assert os.waitpid(child(lambda: ring(hay, mine.id)), 0)[1] == 0
    assert select.select([mine.bell.fd], [], [], 0)[0] == [mine.bell.fd]
    mine.bell.drain()
    assert select.select([mine.bell.fd], [], [], 0)[0] == []
    for _ in range(70_000):
        mine.bell.ring()
    ring(hay, mine.id)
    mine.bell.drain()
    assert select.select([mine.bell.fd], [], [], 0)[0] == []
    ring(hay, other.id)
    kill(other.pid)
    for session in (other.id, other.id, 4711):
        ring(hay, session)
    leave(hay, mine)
    ring(hay, mine.id)


def test_many_bells_need_few_descriptors(hay: Hay) -> None:
    sessions = [SessionFile.create(hay, b"") for _ in range(80)]
    for session in sessions:
        ring(hay, session.id)
        assert select.select([session.bell.fd], [], [], 0)[0] == [session.bell.fd]
    assert len(hay.peers.bells) == 64
    for session in sessions:
        leave(hay, session)


def test_descriptors_of_the_gone_are_given_back(place: Path, child: Start) -> None:
    hay = Hay.open(place)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        other = Other(hay, child)
        assert dead_sessions(hay) == []
        ring(hay, other.id)
        kill(other.pid)
        for dead in dead_sessions(hay):
            with seize(hay, dead), hay.write() as txn:
                txn.delete_session(dead)
        ring(hay, other.id)
    assert dead_sessions(hay) == []
    assert len(os.listdir("/proc/self/fd")) == before
    hay.close()

"""Counters: added once, whoever ends how; no room is no harm."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from haypile.hay import counters
from haypile.hay.counters import ACKED, PUBLISHED, Counters
from haypile.hay.sessions import SessionFile, seize
from haypile.hay.store import Hay


def test_a_session_s_counts_become_totals(hay: Hay) -> None:
    session = SessionFile.create(hay, b"")
    mine = Counters(session.counts_path())
    row = mine.row(7)
    row[PUBLISHED] += 5
    mine.row(7)[ACKED] = 2
    mine.row(9)[ACKED] = 1
    assert counters.totals(hay) == {7: (5, 0, 2, 0, 0, 0), 9: (0, 0, 1, 0, 0, 0)}
    with hay.write() as txn:
        counters.fold(txn, mine.items(), {7})
        txn.delete_session(session.id)
    mine.close()
    session.close()
    assert counters.totals(hay) == {7: (5, 0, 2, 0, 0, 0)}
    assert not list((hay.directory / "sessions").iterdir())


def test_many_queues(hay: Hay) -> None:
    """Rows do not move when the file grows."""
    session = SessionFile.create(hay, b"")
    mine = Counters(session.counts_path())
    rows = [mine.row(queue) for queue in range(1, 301)]
    for row in rows:
        row[PUBLISHED] += row[0]
    assert {queue: counts[0] for queue, counts in counters.totals(hay).items()} == {n: n for n in range(1, 301)}
    with hay.write() as txn:
        txn.delete_session(session.id)
    mine.close()
    session.close()


def test_a_killed_process_has_counted(hay: Hay) -> None:
    pid = os.fork()
    if not pid:
        session = SessionFile.create(hay, b"")
        row = Counters(session.counts_path()).row(7)
        row[PUBLISHED] = 3
        os._exit(session.id)
    dead = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert counters.totals(hay) == {7: (3, 0, 0, 0, 0, 0)}
    with seize(hay, dead) as grave:
        assert grave is not None
        with hay.write() as txn:
            counters.fold(txn, counters.read_dead(grave.counts_path()), {7})
            txn.delete_session(dead)
    assert counters.totals(hay) == {7: (3, 0, 0, 0, 0, 0)}


def test_no_room(hay: Hay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What cannot be shared is added at the end."""

    def full(fd: int, at: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    mine = Counters(tmp_path / "counts")
    mine.row(7)[PUBLISHED] = 1
    with hay.write() as txn:
        counters.fold(txn, mine.items(), {7})
    assert counters.totals(hay) == {7: (1, 0, 0, 0, 0, 0)}

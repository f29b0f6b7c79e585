"""The journal says what the store says, whatever happens while it is written."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct

import pytest

from haypile.hay import base, copying, holes, journal, log
from haypile.hay.base import Contents
from haypile.hay.errors import JournalLost, OutOfRoom, UnusableDirectory
from haypile.hay.gates import FLUSHED, LOG_EPOCH, PENDING
from haypile.hay.journal import Journal
from haypile.hay.layout import HELD_HEAD, JOURNALED
from haypile.hay.store import Hay
from tests.support.syncs import after_each

ORDER = Struct(">BQI")
STORM = int(os.environ.get("HAYPILE_STORM", "1"))
Start = Callable[[Callable[[], None]], int]
#: Orders and records by queue, topology rows.
State = tuple[dict[int, dict[bytes, tuple[bytes, bool]]], dict[bytes, bytes]]


def order(number: int) -> bytes:
    return ORDER.pack(255, number, 7)


def keeps(key: bytes, value: bytes) -> bool:
    """Rows whose value begins with D are kept."""
    return value.startswith(b"D")


def fill(hay: Hay, contents: Contents) -> None:
    with hay.write() as txn:
        for key, value in contents.rows():
            txn.put_row(key, value)
        for kind, number in contents.ids():
            txn.raise_id(kind, number)
        for kept in contents.messages():
            txn.put(kept.queue, kept.order, kept.record, flags=JOURNALED | kept.held, weight=kept.weight)


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where journals are, in these tests."""
    directory = Path(tempfile.mkdtemp(prefix="haypile-test-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def kept(place: Path, disk: Path) -> Iterator[Hay]:
    """A store with a journal."""
    store = Hay.open(place, journal=Journal(disk / "journal", keeps, fill))
    yield store
    store.close()


def flush(hay: Hay) -> None:
    assert hay.journal is not None
    hay.journal.flush(hay)
    assert hay.gates.words[FLUSHED] >= hay.gates.words[PENDING]


def in_store(hay: Hay) -> State:
    """What a journal of ``hay`` should say."""
    queues: dict[int, dict[bytes, tuple[bytes, bool]]] = {}
    with hay.read() as txn:
        for key, value in txn.scan(b"\xff"):
            if len(key) == HELD_HEAD + 1 and value[1] & JOURNALED:
                entry = txn.entries(int.from_bytes(key[1:5], "big"), 1_000_000)
                for one in entry:
                    if one.order == key[5:]:
                        queues.setdefault(one.queue, {})[one.order] = txn.record(one), bool(value[1] & 0x40)
        for session in (1, 2):
            for tag, one in txn.taken(session):
                found = txn.held(session, tag)
                if found is not None and one.flags & JOURNALED:
                    queues.setdefault(one.queue, {})[one.order] = found[1], True
        return queues, {key: value for key, value in txn.rows() if keeps(key, value)}


def in_journal(place: Path) -> State:
    """What a journal says, read aside from everybody who uses it."""
    queues: dict[int, dict[bytes, tuple[bytes, bool]]] = {}
    rows: dict[bytes, bytes] = {}
    if not (place / "base").exists():
        return queues, rows
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(place, Path(aside) / "copy")
        base_, log_ = base.Base(Path(aside) / "copy" / "base"), log.Log.open(Path(aside) / "copy" / "log")
        batches = (base.decode(payload) for _, payload in log_.batches(base_.epoch + 1))
        base_.take_in(batches, base_.epoch + 1)
        with base_.read() as contents:
            rows.update(contents.rows())
            for one in contents.messages():
                queues.setdefault(one.queue, {})[one.order] = one.record, one.held
        base_.close()
        log_.close()
    return queues, rows


class Actor:
    """Does something durable, and something that is not, at random."""

    def __init__(self, hay: Hay, seed: int, incarnation: int = 0) -> None:
        self.hay = hay
        self.draw = random.Random(seed)
        self.number = 100_000 * incarnation
        self.tags = {1: self.number, 2: self.number}

    def act(self) -> None:
        draw = self.draw
        queue, session = draw.choice((5, 6)), draw.choice((1, 2))
        with self.hay.write() as txn:
            for _ in range(draw.randint(1, 3)):
                what = draw.choice(
                    ("put",) * 6
                    + ("run", "run", "take", "records", "hold", "hold", "drop", "drop", "restore", "remove", "purge")
                    + ("row", "row", "shared")
                )
                if what == "put":
                    self.number += 1
                    record = draw.randbytes(draw.choice((10, 500, 700, 3000)))
                    flags = draw.choice((0, JOURNALED, JOURNALED))
                    txn.put(queue, order(self.number), record, flags=flags, awaited=draw.random() < 0.5)
                elif what == "run":
                    rows = []
                    for _ in range(draw.randint(1, 5)):
                        self.number += 1
                        record = draw.randbytes(draw.choice((10, 500, 700, 3000)))
                        rows.append((order(self.number), record, draw.choice((0, JOURNALED, JOURNALED))))
                    txn.put_run(queue, rows, awaited=draw.random() < 0.5)
                elif what == "records":
                    txn.take_records(queue, draw.randint(1, 4))
                elif what == "shared":
                    self.number += 1
                    targets = [(5, order(self.number), 0), (6, order(self.number), 0)]
                    txn.put_shared(targets, draw.randbytes(900), flags=JOURNALED)
                elif what == "take":
                    txn.take(queue, draw.randint(1, 4))
                elif what == "hold":
                    got = txn.hold(queue, draw.randint(1, 5), session, self.tags[session] + 1)
                    self.tags[session] += len(got)
                elif what == "remove":
                    head = txn.head(queue)
                    if head is not None:
                        txn.remove(queue, head.order)
                elif what == "purge" and draw.random() < 0.2:
                    txn.purge(queue)
                elif what == "row":
                    key = b"row%d" % draw.randint(1, 5)
                    if draw.random() < 0.4:
                        txn.delete_row(key)
                    else:
                        txn.put_row(key, draw.choice((b"D", b"T")) + b"%d" % self.number)
                    txn.note_row(key)
                elif what in ("drop", "restore"):
                    held = txn.taken(session)
                    if held:
                        tag, entry = draw.choice(held)
                        if what == "drop":
                            txn.drop(session, [tag])
                        else:
                            txn.restore(session, tag, flags=1, deliveries=entry.deliveries + 1)


@pytest.mark.parametrize("seed", range(4 * STORM))
@pytest.mark.parametrize("full", [16 << 20, 20_000])
def test_the_journal_says_what_the_store_says(
    kept: Hay, disk: Path, monkeypatch: pytest.MonkeyPatch, seed: int, full: int
) -> None:
    """Other transactions come in between any two steps of a flush; some flushes end half way."""
    actor = Actor(kept, seed)
    draw = random.Random(seed + 1000)
    monkeypatch.setattr(journal, "FULL", full)
    monkeypatch.setattr(copying, "LARGE", draw.choice((2 << 20, 5000)))

    class Cut(Exception):
        pass

    def meanwhile(point: str) -> None:
        for _ in range(draw.randint(0, 3)):
            actor.act()
        if draw.random() < 0.1:
            raise Cut

    for _ in range(40):
        for _ in range(draw.randint(0, 8)):
            actor.act()
        with monkeypatch.context() as patch:
            patch.setattr(journal, "reach", meanwhile)
            with contextlib.suppress(Cut):
                kept.journal.flush(kept)  # type: ignore[union-attr]
        if draw.random() < 0.1:
            kept.journal.close()  # type: ignore[union-attr]
        if draw.random() < 0.1:
            kept.gates.words[LOG_EPOCH] = 0
        if draw.random() < 0.3 and (disk / "journal" / "log").exists():
            flush(kept)
            assert in_journal(disk / "journal") == in_store(kept)
    flush(kept)
    assert in_journal(disk / "journal") == in_store(kept)
    with kept.read() as txn:
        assert not list(txn.scan(b"\x30")) and not list(txn.scan(b"\x31"))


# -- killing ------------------------------------------------------------------------------------------


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


POINTS = (
    "flush: read",
    "flush: on disk",
    "flush: told",
    "checkpoint: begun",
    "checkpoint: on disk",
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step(kept: Hay, disk: Path, child: Start, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Whoever comes next ends what the dead one began."""
    monkeypatch.setattr(journal, "FULL", 20_000)
    for number in range(6):

        def work(number: int = number) -> None:
            seen = 0

            def die(reached: str) -> None:
                nonlocal seen
                seen += reached == point
                if seen > number % 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(journal, "reach", die)
            actor = Actor(kept, number, number)
            while True:
                actor.act()
                flush(kept)

        assert wait(child(work)) == -signal.SIGKILL
        flush(kept)
        assert in_journal(disk / "journal") == in_store(kept)


@pytest.mark.storm
def test_killed_at_any_instant(kept: Hay, disk: Path, child: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes change and flush; one of them is killed, often."""
    monkeypatch.setattr(journal, "FULL", 60_000)
    draw = random.Random(9)
    numbers = iter(range(1, 1_000_000))

    def start() -> int:
        number = next(numbers)

        def work() -> None:
            actor = Actor(kept, number, number)
            while True:
                actor.act()
                if actor.draw.random() < 0.5:
                    flush(kept)

        return child(work)

    pids = [start(), start()]
    for _ in range(40 * STORM):
        time.sleep(draw.uniform(0.001, 0.03))
        victim = draw.randint(0, 1)
        os.kill(pids[victim], signal.SIGKILL)
        os.waitpid(pids[victim], 0)
        pids[victim] = start()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    flush(kept)
    assert in_journal(disk / "journal") == in_store(kept)


# -- power cuts ---------------------------------------------------------------------------------------


def put(hay: Hay, number: int, size: int = 100) -> None:
    with hay.write() as txn:
        txn.put(5, order(number), os.urandom(size), flags=JOURNALED)


def numbers_in(disk: Path) -> list[int]:
    return [ORDER.unpack(one)[1] for one in sorted(in_journal(disk / "journal")[0].get(5, {}))]


def test_a_torn_batch_is_not_seen(kept: Hay, disk: Path) -> None:
    """Of the last batch, any of its sectors may be old (here: zeros, or anything) after a power cut."""
    path = disk / "journal" / "log"
    put(kept, 1)
    flush(kept)
    put(kept, 2)
    flush(kept)
    before = path.read_bytes()
    put(kept, 3, 9000)
    flush(kept)
    after = path.read_bytes()
    assert numbers_in(disk) == [1, 2, 3]
    changed = [
        at for at in range(0, len(after), 512) if after[at : at + 512] != before[at : at + 512].ljust(512, b"\0")
    ]
    assert len(changed) > 2
    for at in changed:
        for old in (before[at : at + 512].ljust(512, b"\0"), os.urandom(512)):
            torn = after[:at] + old + after[at + 512 :]
            path.write_bytes(torn)
            assert numbers_in(disk) == [1, 2]
        path.write_bytes(after[:at])
        assert numbers_in(disk) == [1, 2]
    path.write_bytes(after)
    assert numbers_in(disk) == [1, 2, 3]


def test_a_batch_of_an_earlier_epoch_is_not_seen(kept: Hay, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 9):
        put(kept, number)
        flush(kept)
    monkeypatch.setattr(journal, "FULL", 0)
    with kept.write() as txn:
        txn.take(5, 8)
    flush(kept)
    monkeypatch.undo()
    assert numbers_in(disk) == []
    put(kept, 10)
    flush(kept)
    assert numbers_in(disk) == [10]


def test_a_body_that_looks_like_a_batch_is_none(kept: Hay, disk: Path) -> None:
    """A batch in a batch, at a page of its own: its place is wrong."""
    put(kept, 1)
    flush(kept)
    batch = (disk / "journal" / "log").read_bytes()[4096:8192]
    with kept.write() as txn:
        txn.put(5, order(2), batch * 4, flags=JOURNALED)
    flush(kept)
    assert numbers_in(disk) == [1, 2]


def test_everything_told_to_be_on_disk_was_synced(kept: Hay, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the files held at their last sync is kept aside; FLUSHED never claims more than that."""
    synced = disk / "synced" / "journal"
    syncs = 0

    def synced_now() -> None:
        nonlocal syncs
        syncs += 1
        shutil.copytree(disk / "journal", synced, dirs_exist_ok=True)

    # A new log, and its first growth.
    for number in (1, 2):
        put(kept, number)
        flush(kept)
    after_each(monkeypatch, synced_now)
    for number in range(3, 30):
        put(kept, number)
        goal = kept.gates.words[PENDING]
        assert kept.gates.words[FLUSHED] < goal
        flush(kept)
        assert syncs == number - 2
        assert numbers_in(disk / "synced")[-1] == number


@pytest.mark.parametrize("where", ["opened", "written", "half"])
def test_a_disk_that_cannot_be_written_to_past_the_page_cache(
    kept: Hay, disk: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The journal is written all the same."""
    asked, real = 0, os.pwritev

    def pwritev(fd: int, buffers: list[memoryview], at: int) -> int:
        nonlocal asked
        asked += 1
        if where == "half":
            return real(fd, [buffers[0][:0]], at)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    if where == "opened":
        monkeypatch.setattr(log, "open_direct", lambda fd: -1)
    monkeypatch.setattr(os, "pwritev", pwritev)
    for number in range(1, 10):
        put(kept, number)
        flush(kept)
    assert numbers_in(disk) == [*range(1, 10)]
    # The first one makes the files.
    assert asked == {"opened": 0, "written": 1, "half": 8}[where]


def test_a_disk_that_fails_past_the_page_cache(kept: Hay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that the message is safe."""

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for number in (1, 2):
        put(kept, number)
        flush(kept)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fail)
        put(kept, 3)
        goal = kept.gates.words[PENDING]
        with pytest.raises(JournalLost):
            flush(kept)
        assert kept.gates.words[FLUSHED] < goal
    flush(kept)
    assert kept.gates.words[FLUSHED] >= goal


# -- files --------------------------------------------------------------------------------------------


def test_a_removed_journal_is_written_anew(kept: Hay, disk: Path) -> None:
    for gone in ("journal", "journal/log", "journal/base"):
        for number in range(5):
            put(kept, number, 1000)
        with kept.write() as txn:
            txn.put_row(b"row", b"Durable")
            txn.note_row(b"row")
            txn.hold(5, 1, 1, 1)
        flush(kept)
        with kept.write() as txn:
            txn.take(5, 1)
        place = disk / gone
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        put(kept, 100)
        flush(kept)
        assert in_journal(disk / "journal") == in_store(kept)
        with kept.write() as txn:
            txn.drop(1, [1])
            txn.purge(5)
        flush(kept)


def test_a_new_store_is_filled_and_takes_the_journal_over(kept: Hay, place: Path, disk: Path) -> None:
    for number in range(5):
        put(kept, number, 1000)
    with kept.write() as txn:
        txn.hold(5, 1, 1, 1)
        txn.next_id("queue")
    flush(kept)
    put(kept, 10)
    kept.journal.close()  # type: ignore[union-attr]
    shutil.rmtree(place)
    new = Hay.open(place, journal=Journal(disk / "journal", keeps, fill))
    with new.write() as txn:
        assert [ORDER.unpack(entry.order)[1] for entry in txn.entries(5, 9)] == [0, 1, 2, 3, 4]
        assert txn.next_id("queue") == 2
        txn.take(5, 3)
    flush(new)
    # LMDB opens nothing twice in a process.
    new.journal.close()  # type: ignore[union-attr]
    with pytest.raises(JournalLost, match="belongs to a newer store"):
        flush(kept)
    assert numbers_in(disk) == [3, 4]
    new.close()
    kept.gates.words[FLUSHED] = kept.gates.words[PENDING]


@pytest.mark.parametrize("point", ["checkpoint: begun", "checkpoint: on disk", "revive: taken over"])
def test_killed_while_a_new_store_is_filled(
    kept: Hay, place: Path, disk: Path, child: Start, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    for number in range(5):
        put(kept, number)
    flush(kept)
    shutil.rmtree(place)

    def work() -> None:
        def die(reached: str) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(journal, "reach", die)
        Hay.open(place, journal=Journal(disk / "journal", keeps, fill))

    assert wait(child(work)) == -signal.SIGKILL
    new = Hay.open(place, journal=Journal(disk / "journal", keeps, fill))
    assert new.count_now(5) == 5
    assert sorted(os.listdir(place)) == ["hay", "lock", "sessions"]
    new.close()


def test_what_is_no_journal_is_refused(kept: Hay, place: Path, disk: Path) -> None:
    put(kept, 1)
    flush(kept)
    kept.journal.close()  # type: ignore[union-attr]
    shutil.rmtree(place)
    good = (disk / "journal" / "base" / "data.mdb").read_bytes()
    (disk / "journal" / "base" / "data.mdb").write_bytes(b"no LMDB" * 3000)
    with pytest.raises(UnusableDirectory, match=r"cannot open the journal in .*base"):
        Hay.open(place, journal=Journal(disk / "journal", keeps, fill))
    (disk / "journal" / "base" / "data.mdb").write_bytes(good)
    (disk / "journal" / "log").write_bytes(b"no log" * 3000)
    with pytest.raises(UnusableDirectory, match=r"log is no log of a haypile journal"):
        Hay.open(place, journal=Journal(disk / "journal", keeps, fill))
    os.chmod(disk / "journal", 0o755)
    with pytest.raises(UnusableDirectory, match=r"open to other users"):
        Hay.open(place, journal=Journal(disk / "journal", keeps, fill))


def test_without_a_directory_nothing_durable_is_accepted(place: Path, disk: Path) -> None:
    (disk / "file").touch()
    hay = Hay.open(place, journal=Journal(disk / "file" / "journal", keeps, fill))
    hay.journal.wanted = True  # type: ignore[union-attr]
    with hay.write() as txn:
        txn.put(5, order(1), b"transient")
    with pytest.raises(UnusableDirectory, match=r"set HAYPILE_JOURNAL_DIR"):
        put(hay, 2)
    assert hay.count_now(5) == 1
    hay.close()


def test_what_is_consumed_in_time_never_touches_the_disk(kept: Hay, disk: Path) -> None:
    for number in range(50):
        put(kept, number, 1000)
        with kept.write() as txn:
            assert not txn.take(5, 1)[0][0].flags & 1
    # The page did not know whether a flush was under way, so the first one looks.
    flush(kept)
    shutil.rmtree(disk / "journal", ignore_errors=True)
    for number in range(50):
        with kept.write() as txn:
            txn.put(5, order(number), b"x" * 1000, flags=JOURNALED, awaited=True)
        with kept.write() as txn:
            txn.take(5, 1)
            assert txn.released == {7}
    flush(kept)
    assert not (disk / "journal" / "base").exists()


def test_forks(kept: Hay, disk: Path, child: Start) -> None:
    put(kept, 1)
    flush(kept)

    def work() -> None:
        put(kept, 2)
        flush(kept)

    assert wait(child(work)) == 0
    put(kept, 3)
    flush(kept)
    assert numbers_in(disk) == [1, 2, 3]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_refuses_and_goes_on(place: Path, disk: Path) -> None:
    small = disk / "small"
    small.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "haypile-test", str(small)], check=True)
    hay = Hay.open(place, journal=Journal(small / "journal", keeps, fill))
    try:
        number = 0
        with pytest.raises(OutOfRoom, match=r"no room left for the journal in .*HAYPILE_JOURNAL_DIR"):
            while True:
                number += 1
                put(hay, number, 50_000)
                flush(hay)
        assert number > 10
        with pytest.raises(OutOfRoom):
            while True:
                number += 1
                put(hay, number, 50_000)
                flush(hay)
        with hay.write() as txn:
            txn.take(5, number - 5)
        flush(hay)
        for more in range(20):
            put(hay, number + more, 50_000)
            flush(hay)
            with hay.write() as txn:
                txn.take(5, 1)
    finally:
        hay.close()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_space_is_given_back(kept: Hay, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that has become far too large gives its room back to the disk with the flush that finds it so."""
    monkeypatch.setattr(holes, "KEPT_MOST", 256 << 10)
    file = disk / "journal" / "base" / "data.mdb"

    def taken() -> int:
        return file.stat().st_blocks * 512

    for start in range(0, 2400, 400):
        with kept.write() as txn:
            for number in range(start, start + 400):
                txn.put(1, order(number), number.to_bytes(4, "big") * 2500, flags=JOURNALED)
        flush(kept)
    assert taken() > 20 << 20
    for start in range(0, 2390, 100):
        with kept.write() as txn:
            for number in range(start, min(start + 100, 2390)):
                txn.remove(1, order(number))
        flush(kept)
    assert taken() < 4 << 20
    with kept.write() as txn:
        txn.put(1, order(3000), b"more", flags=JOURNALED)
    flush(kept)
    assert in_journal(disk / "journal") == in_store(kept)
    assert len(in_store(kept)[0][1]) == 11

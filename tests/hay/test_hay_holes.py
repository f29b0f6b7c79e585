"""Space given back: LMDB's free pages become holes, whoever reads, writes or is killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from haypile.hay import holes, room
from haypile.hay.store import Hay

MIB = 1 << 20


class Data:
    """An LMDB environment with two trees, and what should be in it."""

    def __init__(self, place: Path) -> None:
        self.env = lmdb.open(os.fspath(place), map_size=1 << 36, sync=False, max_dbs=2)
        self.trees = [self.env.open_db(name) for name in (b"a", b"b")]
        self.fd = os.open(place / "data.mdb", os.O_RDWR)
        self.content: dict[tuple[int, bytes], bytes] = {}

    def put(self, chance: random.Random, count: int) -> None:
        with self.env.begin(write=True) as txn:
            for _ in range(count):
                tree, key = chance.randrange(2), chance.randbytes(8)
                value = chance.randbytes(chance.choice([10, 100, 3000, 20_000]))
                self.content[tree, key] = value
                txn.put(key, value, db=self.trees[tree])

    def delete(self, chance: random.Random, count: int) -> None:
        with self.env.begin(write=True) as txn:
            for tree, key in chance.sample(sorted(self.content), min(count, len(self.content))):
                del self.content[tree, key]
                assert txn.delete(key, db=self.trees[tree])

    def live(self) -> int:
        with self.env.begin() as txn:
            stats: list[Any] = [self.env.stat(), *(txn.stat(tree) for tree in self.trees)]
        return sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)

    def give_back(self) -> int:
        return holes.Holes(self.fd).give_back(self.live(), holes.oldest_view(self.env))

    def taken(self) -> int:
        return os.fstat(self.fd).st_blocks * 512

    def read(self, txn: Any) -> dict[tuple[int, bytes], bytes]:
        return {
            (number, key): value for number, tree in enumerate(self.trees) for key, value in txn.cursor(db=tree)
        }

    def close(self) -> None:
        self.env.close()
        os.close(self.fd)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on tmpfs; little is kept."""
    monkeypatch.setattr(holes, "KEPT_MOST", 256 << 10)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
def data(place: Path) -> Iterator[Data]:
    """An empty one."""
    made = Data(place)
    yield made
    made.close()


def test_nothing_is_lost_by_it(data: Data) -> None:
    """Growing, shrinking and giving back in turns: the content stays, and every page is accounted for each time."""
    chance = random.Random(1)
    given = 0
    for turn in range(120):
        if turn // 20 % 2:
            data.delete(chance, 150)
        else:
            data.put(chance, 150)
        meta = holes.read_meta(data.fd)
        free = sum(len(numbers) for _, numbers in holes.free_pages(data.fd, meta))
        assert 2 + meta.free_tree + data.live() + free == meta.pages
        if turn % 3 == 0:
            given += data.give_back()
    with data.env.begin() as txn:
        assert data.read(txn) == data.content
    assert given > 20 * MIB
    data.delete(chance, len(data.content))
    data.put(chance, 1)
    data.give_back()
    assert data.taken() < MIB


def test_in_parts(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of free pages is read once for all parts, and again after each transaction of somebody."""
    monkeypatch.setattr(holes, "SLICE_LEAST", MIB)
    monkeypatch.setattr(holes, "SLICE_SHARE", 1 << 40)
    looks: list[int] = []
    real = holes.free_pages

    def counted(fd: int, meta: holes.Meta) -> Iterator[tuple[int, list[int]]]:
        looks.append(meta.number)
        return real(fd, meta)

    monkeypatch.setattr(holes, "free_pages", counted)
    chance = random.Random(4)
    file = holes.Holes(data.fd)
    for turn in range(10):
        data.put(chance, 3000)
        data.delete(chance, 2900)
        data.put(chance, 1)
        looks.clear()
        parts = []
        while part := file.give_back(data.live(), holes.oldest_view(data.env)):
            parts.append(part)
            assert part <= MIB
            if len(parts) % 4 == turn % 4:
                data.put(chance, 3)
                data.delete(chance, 2)
        assert len(parts) > 5 and len(looks) == 1 + sum(number % 4 == turn % 4 for number in range(1, len(parts) + 1))
        assert data.taken() < data.live() * 4096 + 2 * MIB
        with data.env.begin() as txn:
            assert data.read(txn) == data.content


def test_what_a_reader_sees_stays(data: Data) -> None:
    """A view opened before keeps every page it needs, and they are given back after its end."""
    chance = random.Random(2)
    data.put(chance, 500)
    before = dict(data.content)
    with data.env.begin() as reader:
        data.delete(chance, 400)
        for _ in range(3):
            data.put(chance, 1)
        assert data.give_back() < MIB
        assert data.read(reader) == before
    data.put(chance, 1)
    assert data.give_back() > MIB


def test_a_strange_file_is_left_alone(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not add up is not touched: another count of pages, another format, damaged bytes."""
    chance = random.Random(3)
    data.put(chance, 500)
    data.delete(chance, 450)
    data.put(chance, 1)
    live, oldest = data.live(), holes.oldest_view(data.env)
    for wrong in (live - 1, live + 1, 0):
        assert holes.Holes(data.fd).give_back(wrong, oldest) == 0
    real = os.pread
    for _ in range(500):

        def damaged(fd: int, size: int, at: int) -> bytes:
            read = bytearray(real(fd, size, at))
            for _ in range(chance.randrange(1, 20)):
                read[chance.randrange(min(len(read), 64))] = chance.randrange(256)
            return bytes(read)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", damaged)
            patched.setattr(holes.Holes, "_punch_some", lambda *arguments: None)
            assert holes.Holes(data.fd).give_back(live, oldest) == 0
    assert holes.Holes(data.fd).give_back(live, oldest) > MIB
    with data.env.begin() as txn:
        assert data.read(txn) == data.content


def test_killed_while_giving_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every hole: the store is whole, and the next one gives back the rest."""
    real = holes._puncher()
    assert real is not None
    killed = 0
    for at in (1, 2, 3, 5, 8, 13):
        directory = place / str(at)
        directory.mkdir()
        data = Data(directory)
        chance = random.Random(at)
        data.put(chance, 500)
        data.delete(chance, 450)
        data.put(chance, 1)
        live, oldest = data.live(), holes.oldest_view(data.env)
        pid = os.fork()
        if pid == 0:
            left = [at]

            def punch(fd: int, start: int, length: int, left: list[int] = left) -> None:
                left[0] -= 1
                real(fd, start, length)
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            holes._puncher = partial(lambda made: made, punch)
            holes.Holes(os.open(directory / "data.mdb", os.O_RDWR)).give_back(live, oldest)
            os._exit(0)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        data.put(chance, 10)
        with data.env.begin() as txn:
            assert data.read(txn) == data.content
        data.give_back()
        data.put(chance, 100)
        with data.env.begin() as txn:
            assert data.read(txn) == data.content
        data.close()
    assert killed >= 5


def fill(hay: Hay, count: int, first: int = 0) -> None:
    """Messages of 10,000 bytes in queue 1."""
    for number in range(first, first + count):
        with hay.write() as txn:
            txn.put(1, b"\x00" + number.to_bytes(12, "big"), number.to_bytes(4, "big") * 2500)


def drain(hay: Hay, leave: int = 0) -> list[int]:
    """Take all but ``leave`` messages; their numbers."""
    taken: list[int] = []
    while True:
        with hay.write() as txn:
            number = txn.count(1)[0]
            if number <= leave:
                return taken
            for entry in txn.entries(1, min(50, number - leave)):
                record = txn.record(entry)
                assert record == record[:4] * 2500
                taken.append(int.from_bytes(record[:4], "big"))
                txn.remove(1, entry.order)


def test_a_store_gives_space_back(place: Path) -> None:
    """While it is open, a part at a time; and what is left of it when the last one leaves."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(holes, "SLICE_LEAST", 4 * MIB)
        hay = Hay.open(place / "vhost")
        fill(hay, 3000)
        assert room.give_back(hay) == 0
        full = room.used(hay)
        assert full > 30 * MIB
        assert drain(hay, 10) == list(range(2990))
        with hay.write() as txn:
            txn.put(2, bytes(13), b"x")
        left = room.left(hay)
        assert 3 * MIB < room.give_back(hay) < 6 * MIB
        assert abs(room.left(hay) - left) < MIB
        hay.close()
    hay = Hay.open(place / "vhost")
    assert room.used(hay) < 2 * MIB
    fill(hay, 100, 3000)
    assert drain(hay) == list(range(2990, 3100))
    hay.close()


def test_what_the_last_transaction_freed(place: Path) -> None:
    """Who leaves gives that back, too."""
    hay = Hay.open(place / "vhost")
    fill(hay, 1000)
    with hay.write() as txn:
        txn.purge(1)
    hay.close()
    assert (place / "vhost" / "hay" / "data.mdb").stat().st_blocks * 512 < MIB


def test_processes_that_write_and_read_meanwhile(place: Path) -> None:
    """Two processes fill and drain, a third reads, and space is given back all the time."""
    Hay.open(place / "vhost").close()
    children = []
    for queue in (1, 2, 3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(place / "vhost", queue)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    hay = Hay.open(place / "vhost")
    deadline = time.monotonic() + 30
    given = 0
    statuses: list[int] = []
    while len(statuses) < 3 and time.monotonic() < deadline:
        hay.respite = 0.0
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(holes, "WORTH", 0)
            patched.setattr(holes, "USED_SHARE", 1)
            given += room.give_back(hay)
        for pid in children[:]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.remove(pid)
                statuses.append(status)
    hay.close()
    assert statuses == [0, 0, 0]
    assert given > MIB


def work(place: Path, queue: int) -> None:
    """Fill and drain ``queue``, and look at everything there is."""
    hay = Hay.open(place)
    chance = random.Random(queue)
    number = taken = 0
    for _ in range(150):
        with hay.write() as txn:
            for _ in range(chance.randrange(40)):
                txn.put(queue, b"\x00" + number.to_bytes(12, "big"), number.to_bytes(4, "big") * chance.randrange(3000))
                number += 1
        with hay.read() as txn:
            for other in (1, 2, 3):
                for entry in txn.entries(other, 100):
                    record = txn.record(entry)
                    assert record == record[:4] * (len(record) // 4)
        with hay.write() as txn:
            for entry in txn.entries(queue, chance.randrange(60)):
                assert entry.order == b"\x00" + taken.to_bytes(12, "big")
                txn.remove(queue, entry.order)
                taken += 1
    hay.close()

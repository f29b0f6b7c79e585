"""Transactions: what is put in comes out, in order, counted, exactly once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

import lmdb
import pytest

from haypile.hay import room, writing
from haypile.hay.errors import NestedTransaction, OutOfRoom
from haypile.hay.store import Hay
from haypile.hay.txn import Entry, ReadTxn, WriteTxn

ORDER = Struct(">BQI")


def order(number: int, priority: int = 0) -> bytes:
    return ORDER.pack(255 - priority, number, 7)


def lmdb_entries(hay: Hay) -> int:
    """Bodies in the store."""
    with hay.read() as txn:
        return int(txn._txn.stat(hay.db_body)["entries"])


@pytest.mark.parametrize("size", [0, 1, 512, 513, 1000, 2022, 2023, 5000, 65536, 65537, 300_000])
def test_a_record_of_any_size_comes_back(hay: Hay, size: int) -> None:
    record = random.Random(size).randbytes(size)
    with hay.write() as txn:
        txn.put(1, order(1), record, flags=3, deliveries=2, expires=99)
    with hay.read() as read:
        entry = read.head(1)
        assert entry is not None
        assert entry[:6] == (1, order(1), 3, 2, 99, size)
        assert read.record(entry) == record
        assert read.count(1) == (1, size)
    with hay.write() as txn:
        assert [found for _, found in txn.hold(1, 5, session=4, first_tag=10)] == [record]
        assert txn.held(4, 10) is not None
    with hay.write() as txn:
        back = txn.restore(4, 10, flags=1, deliveries=3)
        assert back[:6] == (1, order(1), 1, 3, 99, size)
        assert txn.take(1, 5) == [(back, record)]
    with hay.read() as read:
        assert read.count(1) == (0, 0)
        assert read.head(1) is None
    assert lmdb_entries(hay) == 0


def test_rows_between_two_keys(hay: Hay) -> None:
    with hay.write() as txn:
        for key in (b"\x30b", b"\x30d"):
            txn.put_internal(key, b"")
    with hay.read() as read:
        found = {
            first + last: read.first_internal(b"\x30" + first, b"\x30" + last)
            for first in (b"a", b"b", b"c", b"d", b"e")
            for last in (b"a", b"b", b"c", b"d", b"e")
            if first <= last
        }
    assert [pair for pair, key in found.items() if key is None] == [b"aa", b"cc", b"ee"]
    assert {pair for pair, key in found.items() if key == b"\x30d"} == {b"cd", b"ce", b"dd", b"de"}


def test_order_is_priority_then_time_then_session(hay: Hay) -> None:
    with hay.write() as txn:
        for number, priority in [(3, 0), (1, 0), (2, 9), (4, 5)]:
            txn.put(1, order(number, priority), b"%d" % number)
        txn.put(1, ORDER.pack(255, 1, 6), b"earlier session")
        txn.put(2, order(0), b"another queue")
    with hay.write() as txn:
        assert [record for _, record in txn.take(1, 9)] == [b"2", b"4", b"earlier session", b"1", b"3"]
        assert txn.count(2) == (1, 13)


def test_the_same_order_replaces(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put(1, order(1), b"x" * 1000)
        txn.put(1, order(1), b"new")
        assert txn.count(1) == (1, 3)
        assert [record for _, record in txn.take(1, 9)] == [b"new"]
    assert lmdb_entries(hay) == 0


@pytest.mark.parametrize("size", [100, 1000, 5000, 100_000])
def test_a_shared_body_goes_with_its_last_entry(hay: Hay, size: int) -> None:
    record = b"s" * size
    with hay.write() as txn:
        txn.put_shared([(queue, order(1), queue) for queue in (1, 2, 3, 4)], record, flags=2)
    with hay.write() as txn:
        assert txn.take(1, 1)[0][1] == record
        assert txn.purge(2) == 1
        found = txn.remove(3, order(1))
        assert found is not None and found[1] == record and found[0].expires == 3 and found[0].flags == 2
        assert txn.hold(4, 1, 9, 1)[0][1] == record
    with hay.write() as txn:
        txn.drop(9, [1, 2])
        assert txn.taken(9) == []
    assert lmdb_entries(hay) == 0
    with hay.read() as read:
        assert read.first_internal(b"\x40") is None


def test_a_message_may_count_for_less_than_its_record(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put(1, order(1), bytes(1000), weight=900)
        txn.put_shared([(1, order(2), 0), (2, order(2), 0)], bytes(1000), weight=900)
        txn.put_shared([(1, order(3), 0), (2, order(3), 0)], bytes(100), weight=0)
        assert txn.count(1) == (3, 1800) and txn.count(2) == (2, 900)
        assert [entry.size for entry, _ in txn.hold(1, 1, 5, 1)] == [900] and txn.count(1) == (2, 900)
        assert txn.restore(5, 1).size == 900
        assert txn.count(1) == (3, 1800)
        assert [len(record) for _, record in txn.take(1, 9)] == [1000, 1000, 100]
        assert txn.count(1) == (0, 0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_kept_together_as_one_by_one(hay: Hay, count: int) -> None:
    rows = [(order(number), b"r" * (300 * number), 3, number * 7) for number in range(1, count + 1)]
    with hay.write() as txn:
        for tag, (at, record, flags, expires) in enumerate(rows, 7):
            txn.keep(1, tag, 4, at, record, flags=flags, expires=expires)
        txn.keep_run(2, 7, 4, rows)
        one, other = ([(tag, txn.held(session, tag)) for tag, _ in txn.taken(session)] for session in (1, 2))
        assert len(one) == count
        bare = [[(tag, held and (held[0]._replace(body=0), held[1])) for tag, held in each] for each in (one, other)]
        assert bare[0] == bare[1]


def test_kept_messages_are_held_at_once(hay: Hay) -> None:
    with hay.write() as txn:
        for tag, size in enumerate((10, 1000, 5000), 1):
            txn.keep(3, tag, 1, order(tag), b"k" * size, deliveries=tag)
        assert txn.count(1) == (0, 0)
        assert [(tag, entry.size, entry.deliveries) for tag, entry in txn.taken(3)] == [
            (1, 10, 1),
            (2, 1000, 2),
            (3, 5000, 3),
        ]
        txn.restore(3, 2)
        assert txn.count(1) == (1, 1000)
        assert txn.take(1, 1)[0][1] == b"k" * 1000
        with pytest.raises(KeyError):
            txn.restore(3, 2)


def test_an_exception_rolls_everything_back(hay: Hay) -> None:
    called: list[int] = []
    with pytest.raises(ZeroDivisionError), hay.write() as txn:
        txn.put(1, order(1), b"lost")
        txn.put_row(b"row", b"lost")
        txn.on_commit.append(lambda: called.append(1))
        assert txn.next_id("queue") == 1
        raise ZeroDivisionError
    assert not called
    with hay.write() as txn:
        assert txn.count(1) == (0, 0) and txn.row(b"row") is None and txn.version == 0
        assert txn.next_id("queue") == 1
        txn.on_commit.append(lambda: called.append(hay.count_now(1)))
        txn.put(1, order(1), b"kept")
    assert called == [1]


def test_a_nested_write_is_refused_and_harmless(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put(1, order(1), b"outer")
        with pytest.raises(NestedTransaction), hay.write():
            raise AssertionError
        txn.put(1, order(2), b"outer")
    assert hay.count_now(1) == 2


def test_reading_goes_on_beside_writing(hay: Hay) -> None:
    with hay.read() as before:
        with hay.write() as txn:
            txn.put(1, order(1), b"x")
            with hay.read() as meanwhile:
                assert meanwhile.count(1) == (0, 0)
        with hay.read() as after:
            assert after.count(1) == (1, 1)
        assert before.count(1) == (0, 0)


# -- rows ---------------------------------------------------------------------------------------


def test_rows_versions_and_changes(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put_row(b"q1", b"one")
        txn.put_row(b"q2", b"")
        txn.put_row(b"x", b"other")
        assert txn.version == 3
    assert hay.gates.version == 3
    with hay.write() as txn:
        txn.delete_row(b"q1")
        txn.delete_row(b"nothing there")
        txn.put_row(b"q2", b"two")
        assert txn.changes(3) == [(4, b"q1", None), (5, b"q2", b"two")]
    assert hay.gates.version == 5
    with hay.read() as read:
        assert read.version == 5
        assert list(read.rows(b"q")) == [(b"q2", b"two")]
        assert list(read.rows()) == [(b"q2", b"two"), (b"x", b"other")]
        assert read.changes(4) == [(5, b"q2", b"two")]
        assert read.changes(5) == []
        assert read.changes(6) is None
        everything = read.changes(0)
        assert everything is not None and everything[1] == (2, b"q2", b"")


def test_a_row_key_has_a_limit_that_is_said(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put_row(b"k" * 511, b"")
        for bad in (b"", b"k" * 512):
            with pytest.raises(ValueError, match=r"1 to 511 bytes"):
                txn.put_row(bad, b"")


def test_the_log_is_trimmed(hay: Hay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LOG_KEPT", 200)
    for _ in range(10):
        with hay.write() as txn:
            for number in range(50):
                txn.put_row(b"%d" % number, b"x")
    with hay.read() as read:
        assert read.version == 500
        assert read.changes(100) is None
        recent = read.changes(300)
        assert recent is not None and [version for version, _, _ in recent] == list(range(301, 501))


def test_ids_grow_by_kind(hay: Hay) -> None:
    with hay.write() as txn:
        assert [txn.next_id("queue") for _ in range(3)] == [1, 2, 3]
        assert txn.next_id("session") == 1
    with hay.write() as txn:
        assert txn.next_id("queue") == 4


def test_a_writer_killed_before_the_gate_page_is_repaired(hay: Hay) -> None:
    with hay.write() as txn:
        txn.put_row(b"a", b"")
    hay.gates.words[0], hay.gates.words[4] = 0, 1
    with hay.write():
        assert hay.gates.version == 1
    assert hay.gates.words[4] == 0


# -- interruptions ------------------------------------------------------------------------------


class Interrupting:
    """An LMDB transaction whose commit is hit by Ctrl-C, before or after it happened."""

    def __init__(self, txn: object, after: bool) -> None:
        self._inner, self._after = txn, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def commit(self) -> None:
        if self._after:
            self._inner.commit()  # type: ignore[attr-defined]
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_commit_leaves_no_lock(hay: Hay, after: bool) -> None:
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt), hay.write() as txn:
        txn.put(1, order(1), b"x")
        txn.put_row(b"a", b"")
        txn.on_commit.append(lambda: told.append("told"))
        txn._txn = Interrupting(txn._txn, after)
    assert told == (["told"] if after else [])
    assert hay.gates.version == int(after)
    with hay.write() as txn:
        assert txn.count(1)[0] == int(after)


def test_an_interrupt_at_begin_leaves_no_lock(hay: Hay, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("lock_at_once", "begin"):
        with monkeypatch.context() as patch:
            patch.setattr(hay, name, interrupted)
            with pytest.raises(KeyboardInterrupt), hay.write():
                raise AssertionError
        with hay.write() as txn:
            txn.put(1, order(1), b"x")


# -- room ---------------------------------------------------------------------------------------


@pytest.fixture
def small(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hay]:
    monkeypatch.setattr("haypile.hay.environment.MAP_SIZE", 1 << 20)
    store = Hay.open(place)
    yield store
    store.close()


def test_a_full_map_refuses_and_goes_on(small: Hay) -> None:
    number = 0
    with pytest.raises(OutOfRoom, match=r"no room left in .*vhost"):
        while True:
            with small.write() as txn:
                for _ in range(5):
                    number += 1
                    txn.put(1, order(number), b"x" * 5000)
    count, size = 0, 0
    with small.read() as read:
        count, size = read.count(1)
        assert len(read.entries(1, 10_000)) == count == (number - 1) // 5 * 5
        assert size == count * 5000
    with small.write() as txn:
        assert len(txn.take(1, 20)) == 20
    with small.write() as txn:
        txn.put(1, order(number + 1), b"x" * 5000)
    assert small.count_now(1) == count - 19


def test_an_lmdb_error_inside_the_block_rolls_back(small: Hay) -> None:
    with pytest.raises(OutOfRoom), small.write() as txn:
        txn.put(1, order(1), b"x" * 2_000_000)
    with pytest.raises(lmdb.BadValsizeError), small.write() as txn:
        txn.put(1, order(1) + bytes(600), b"too long a key")
    assert small.count_now(1) == 0


def test_a_backlog_is_dense(hay: Hay) -> None:
    number = 20_000
    for first in range(0, number, 100):
        with hay.write() as txn:
            for one in range(first, first + 100):
                txn.put(1, order(one), bytes(1024 + 60))
    assert hay.count_now(1) == number
    assert 1.0 * 1024 * number < room.used(hay) <= 1.45 * 1024 * number


# -- against a model ------------------------------------------------------------------------------


class Model:
    """What the store should hold, as dictionaries."""

    def __init__(self) -> None:
        self.ready: dict[int, dict[bytes, tuple[int, int, int, bytes]]] = {1: {}, 2: {}, 3: {}}
        self.held: dict[tuple[int, int], tuple[int, bytes, int, int, int, bytes]] = {}

    def check(self, txn: ReadTxn) -> None:
        for queue, messages in self.ready.items():
            assert txn.count(queue) == (len(messages), sum(len(message[3]) for message in messages.values()))
            entries = txn.entries(queue, 10_000)
            assert [entry.order for entry in entries] == sorted(messages)
            for entry in entries:
                assert (*entry[2:5], txn.record(entry)) == messages[entry.order]
        for session in (1, 2):
            taken = txn.taken(session)
            assert [tag for tag, _ in taken] == sorted(tag for owner, tag in self.held if owner == session)
            for tag, entry in taken:
                queue, key, flags, deliveries, expires, record = self.held[session, tag]
                assert entry[:6] == (queue, key, flags, deliveries, expires, len(record))
                held = txn.held(session, tag)
                assert held == (entry, record)


SIZES = (0, 5, 100, 511, 512, 513, 900, 2022, 2023, 3000, 9000, 70_000)


class Player:
    """Does the same to a store and to the model."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = Model()
        self.tags = {1: 1, 2: 1}

    def play(self, txn: WriteTxn) -> None:
        steps = (
            self.put,
            self.put,
            self.put_run,
            self.share,
            self.take,
            self.take_records,
            self.hold,
            self.settle,
            self.lose,
        )
        self.random.choice(steps)(txn, self.random.randint(1, 3))

    def message(self) -> tuple[bytes, bytes]:
        draw = self.random
        record = draw.randbytes(draw.choice(SIZES))
        return ORDER.pack(255 - draw.randint(0, 2), draw.randint(1, 200), draw.randint(1, 2)), record

    def put(self, txn: WriteTxn, queue: int) -> None:
        key, record = self.message()
        txn.put(queue, key, record, flags=1, deliveries=2, expires=3)
        self.model.ready[queue][key] = (1, 2, 3, record)

    def put_run(self, txn: WriteTxn, queue: int) -> None:
        """Among what is there, some in its place; or, as mostly, behind it."""
        messages = dict(self.message() for _ in range(self.random.randint(1, 9)))
        ready = sorted(self.model.ready[queue])
        if ready and self.random.random() < 0.5:
            messages = {key: record for key, record in messages.items() if key > ready[-1]}
        elif ready:
            messages[self.random.choice(ready)] = b"in the place of another one"
        rows = [(key, messages[key], self.random.choice((0, 0, 0, 1))) for key in sorted(messages)]
        txn.put_run(queue, rows)
        for key, record, flags in rows:
            self.model.ready[queue][key] = (flags, 0, 0, record)

    def share(self, txn: WriteTxn, _: int) -> None:
        key, record = self.message()
        queues = self.random.sample((1, 2, 3), self.random.randint(1, 3))
        txn.put_shared([(queue, key, queue) for queue in queues], record)
        for queue in queues:
            self.model.ready[queue][key] = (0, 0, queue, record)

    def heads(self, queue: int, limit: int) -> list[tuple[Entry, bytes]]:
        ready = self.model.ready[queue]
        found = []
        for key in sorted(ready)[:limit]:
            *numbers, record = ready.pop(key)
            found.append((Entry(queue, key, numbers[0], numbers[1], numbers[2], len(record), 0), record))
        return found

    def take(self, txn: WriteTxn, queue: int) -> None:
        limit = self.random.randint(1, 10)
        self.same(txn.take(queue, limit), self.heads(queue, limit))

    def take_records(self, txn: WriteTxn, queue: int) -> None:
        """As far as the first one with a flag."""
        ready, limit = self.model.ready[queue], self.random.randint(1, 10)
        plain = list(itertools.takewhile(lambda key: not ready[key][0], sorted(ready)[:limit]))
        assert txn.take_records(queue, limit) == [record for _, record in self.heads(queue, len(plain))]

    @staticmethod
    def same(got: list[tuple[Entry, bytes]], expected: list[tuple[Entry, bytes]]) -> None:
        assert [(entry._replace(body=0), record) for entry, record in got] == expected

    def hold(self, txn: WriteTxn, queue: int) -> None:
        limit, session = self.random.randint(1, 10), self.random.randint(1, 2)
        expected = self.heads(queue, limit)
        self.same(txn.hold(queue, limit, session, self.tags[session]), expected)
        for entry, record in expected:
            self.model.held[session, self.tags[session]] = (*entry[:5], record)
            self.tags[session] += 1

    def settle(self, txn: WriteTxn, _: int) -> None:
        held = self.model.held
        for session, tag in self.random.sample(sorted(held), min(4, len(held))):
            queue, key, flags, deliveries, expires, record = held.pop((session, tag))
            if self.random.random() < 0.5:
                txn.drop(session, [tag, 10**9])
                continue
            deliveries += 1
            entry = txn.restore(session, tag, deliveries=deliveries)
            assert entry[:6] == (queue, key, flags, deliveries, expires, len(record))
            self.model.ready[queue][key] = (flags, deliveries, expires, record)

    def lose(self, txn: WriteTxn, queue: int) -> None:
        ready = self.model.ready[queue]
        if self.random.random() < 0.2:
            assert txn.purge(queue) == len(ready)
            ready.clear()
            return
        for key in self.random.sample(sorted(ready), min(3, len(ready))):
            found = txn.remove(queue, key)
            assert found is not None and found[1] == ready.pop(key)[3]
        assert txn.remove(queue, bytes(13)) is None


@pytest.mark.parametrize("seed", range(12))
def test_random_steps_agree_with_the_model(hay: Hay, seed: int) -> None:
    player = Player(seed)
    for _ in range(40):
        with hay.write() as txn:
            for _ in range(player.random.randint(1, 8)):
                player.play(txn)
            player.model.check(txn)
        with hay.read() as read:
            player.model.check(read)
    with hay.write() as txn:
        for queue in player.model.ready:
            txn.purge(queue)
        for session in (1, 2):
            txn.drop(session, [tag for tag, _ in txn.taken(session)])
        assert txn.first_internal(b"\x40") is None
    assert lmdb_entries(hay) == 0


def test_a_batch_ends_behind_the_bytes_it_may_have(hay: Hay) -> None:
    """At least one message comes, however large it is."""
    with hay.write() as txn:
        for number in range(6):
            txn.put(1, b"\xff" + number.to_bytes(12, "big"), bytes(1000))
    with hay.write() as txn:
        assert len(txn.take(1, 6, 1)) == 1
        assert len(txn.take(1, 6, 1500)) == 2
        assert len(txn.hold(1, 6, 7, 1, 1000)) == 1
        assert len(txn.take_records(1, 6, 1000)) == 1
        assert len(txn.take(1, 6)) == 1
        assert txn.count(1) == (0, 0)

"""The landing: what is received is somewhere, whenever the receiver is killed."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haypile.lanes.errors import LaneGone, NoRoom
from haypile.lanes.landing import Landed, Landing
from haypile.lanes.lane import Lane, Lanes
from haypile.lanes.posix import PosixLanes
from haypile.lanes.sysv import SysVLanes


@pytest.fixture(params=[PosixLanes, SysVLanes])
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    """A lane of each kind in turn."""
    lanes: Lanes = request.param()
    made = lanes.create("haypile-test")
    assert made is not None
    yield made
    made.unlink()
    made.close()


@pytest.fixture
def landing(place: Path) -> Iterator[Landing]:
    made = Landing.create(place / "1.landing", slots=8)
    yield made
    made.close()


def test_records_land_and_are_read_by_another(lane: Lane, landing: Landing, place: Path) -> None:
    for record in (b"a record of some length", b"", b"z" * 8192):
        lane.send(record)
    first, token, big = landing.take(lane, 0, 7), landing.take(lane, 3, 8), landing.take(lane, 0, 9)
    assert first is not None and token is not None and big is not None
    assert landing.take(lane) is None
    assert landing.free == 5
    assert landing.record(first) == b"a record of some length" and landing.view(first, 8) == b"a record"
    assert landing.record(token) == b"" and landing.record(big) == b"z" * 8192
    assert (landing.owner(first), landing.owner(big)) == (7, 9)
    landing.mark(big, 12)
    assert list(Landing.read(place / "1.landing")) == [
        Landed(first, 0, b"a record of some length", 7),
        Landed(big, 12, b"z" * 8192, 9),
    ]
    assert landing.occupied() == [first, big]
    for slot in (first, token, big):
        landing.clear(slot)
    assert landing.free == 8 and landing.occupied() == []
    assert list(Landing.read(place / "1.landing")) == []


def test_a_short_record_after_a_long_one(lane: Lane, landing: Landing, place: Path) -> None:
    lane.send(b"L" * 8000)
    slot = landing.take(lane, 5, 5)
    assert slot is not None
    landing.clear(slot)
    lane.send(b"short but long enough")
    assert landing.take(lane, 0, 1) == slot
    assert [landed.record for landed in Landing.read(place / "1.landing")] == [b"short but long enough"]


def test_several_at_a_time(lane: Lane, landing: Landing, place: Path) -> None:
    records = [b"a record of some length", b"", b"z" * 8192, b"the last one of the records"]
    for record in records:
        lane.send(record)
    found = landing.take_some(lane, 7, 3)
    assert [record for _, record in found] == records[:3]
    assert [landing.record(slot) for slot, _ in found] == records[:3]
    assert [record for _, record in landing.take_some(lane, 8, 9)] == records[3:]
    assert landing.take_some(lane, 8, 9) == []
    assert [(one.record, one.owner) for one in Landing.read(place / "1.landing")] == [
        (records[0], 7),
        (records[2], 7),
        (records[3], 8),
    ]
    assert landing.free == 4
    for _ in range(6):
        lane.send(b"x" * 20)
    assert len(landing.take_some(lane, 7, 9)) == 4
    with pytest.raises(IndexError):
        landing.take_some(lane, 7, 9)
    assert lane.depth() == 2 and landing.free == 0 and not landing.late


class Failing:
    """A lane that fails after so many records, before or after the next one came."""

    def __init__(self, lane: Lane, good: int, error: BaseException, after: bool = False) -> None:
        self.lane, self.good, self.error, self.after, self.lead = lane, good, error, after, lane.lead

    def receive_into(self, address: object) -> int:
        self.good -= 1
        length = self.lane.receive_into(address) if self.good >= 0 or self.after else 0  # type: ignore[arg-type]
        if self.good < 0:
            raise self.error
        return length


@pytest.mark.parametrize("good", [0, 1, 3])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_among_several_loses_nothing(lane: Lane, landing: Landing, good: int, after: bool) -> None:
    records = [b"record number %d of five" % number for number in range(5)]
    for record in records:
        lane.send(record)
    with pytest.raises(KeyboardInterrupt):
        landing.take_some(Failing(lane, good, KeyboardInterrupt(), after), 7, 9)  # type: ignore[arg-type]
    assert len(landing.late) == good + after
    got = []
    while some := landing.take_some(lane, 7, 9):
        got += [record[: len(records[0])] for _, record in some]
    assert got == records and not landing.late


@pytest.mark.parametrize("good", [1, 3])
def test_what_came_before_a_lane_went_is_given(lane: Lane, landing: Landing, good: int) -> None:
    for number in range(5):
        lane.send(b"record number %d of five" % number)
    failing = Failing(lane, good, LaneGone("gone"))
    assert len(landing.take_some(failing, 7, 9)) == good  # type: ignore[arg-type]
    assert not landing.late and landing.free == 8 - good
    with pytest.raises(LaneGone):
        landing.take_some(failing, 7, 9)  # type: ignore[arg-type]
    assert landing.free == 8 - good


def test_slots_run_out(lane: Lane, landing: Landing) -> None:
    for _ in range(9):
        lane.send(b"x" * 20)
    assert sorted(landing.take(lane) or 0 for _ in range(8)) == list(range(8))
    assert landing.free == 0
    with pytest.raises(IndexError):
        landing.take(lane)
    assert lane.depth() == 1


def test_a_lane_that_is_gone_takes_no_slot(landing: Landing) -> None:
    lane = PosixLanes().create("haypile-test")
    assert lane is not None
    lane.unlink()
    lane.close()
    with pytest.raises(LaneGone):
        landing.take(lane)
    assert landing.free == 8


class Interrupted:
    """A lane whose receiver is hit by Ctrl-C, before or after the record came."""

    def __init__(self, lane: Lane, after: bool) -> None:
        self.lane, self.after, self.lead = lane, after, lane.lead

    def receive_into(self, address: object) -> int:
        if self.after:
            self.lane.receive_into(address)  # type: ignore[arg-type]
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_loses_nothing(lane: Lane, landing: Landing, place: Path, after: bool) -> None:
    record = b"a record that tells its own length"
    lane.send(record)
    with pytest.raises(KeyboardInterrupt):
        landing.take(Interrupted(lane, after), 0, 7)  # type: ignore[arg-type]
    assert len(landing.late) == int(after) and landing.free == 8 - int(after)
    found = list(Landing.read(place / "1.landing"))
    assert [(one.record[: len(record)], one.owner) for one in found] == [(record, 7)] * int(after)
    lane.send(b"another one, for the other queue")
    other = landing.take(lane, 0, 8)
    slot = landing.take(lane, 4, 7) if after else None
    assert other is not None and landing.record(other) == (
        record if not after else b"another one, for the other queue"
    )
    if slot is not None:
        assert landing.record(slot)[: len(record)] == record and not landing.late
        landing.clear(slot)
        landing.clear(other)
        assert landing.free == 8


def test_the_file(landing: Landing, place: Path) -> None:
    path = place / "1.landing"
    state = path.stat()
    assert state.st_mode & 0o777 == 0o600
    assert state.st_blocks * 512 >= 8 * (64 + 8192), "a sparse one would lose messages on a full tmpfs"
    assert os.listdir(place) == ["1.landing"]


@pytest.mark.parametrize("content", [None, b"", b"haypile", b"x" * 100_000])
def test_reading_what_is_no_landing(place: Path, content: bytes | None) -> None:
    path = place / "2.landing"
    if content is not None:
        path.write_bytes(content)
    assert list(Landing.read(path)) == []


def test_no_room(place: Path) -> None:
    tiny = place / "tiny"
    tiny.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "x", str(tiny)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(NoRoom, match="no room for a landing of 1060864 bytes"):
            Landing.create(tiny / "1.landing")
        assert os.listdir(tiny) == []
    finally:
        subprocess.run(["umount", "-l", str(tiny)], check=True)


#: How many times longer than usual the test that kills goes on.
STORM = int(os.environ.get("HAYPILE_STORM", "1"))
SLOTS = 16


def consume(lane: Lane, path: Path, processed: memoryview) -> None:
    """Take messages, hold a few, process them (note their number), clear their slots; for ever."""
    landing = Landing.create(path, slots=SLOTS)
    held: list[int] = []
    while True:
        slot = landing.take(lane)
        if slot is not None:
            held.append(slot)
        if slot is None or len(held) > 3:
            for one in held:
                processed[int.from_bytes(landing.view(one, 8), "little")] = 1
                landing.clear(one)
            held.clear()


@pytest.mark.storm
@pytest.mark.timeout(120 * STORM)
def test_kills_lose_nothing(lane: Lane, place: Path) -> None:
    """SIGKILLs at random instants of a consumer on a queue that is mostly full."""
    draw = random.Random(7)
    limit = 400_000 * STORM
    processed = memoryview(mmap.mmap(-1, limit))
    sent = memoryview(mmap.mmap(-1, 8)).cast("Q")
    pids: list[int] = []

    def start(work: object) -> int:
        pid = os.fork()
        if not pid:
            try:
                work()  # type: ignore[operator]
            finally:
                os._exit(1)
        pids.append(pid)
        return pid

    def produce() -> None:
        number = 1
        while number < limit:
            if lane.send_wait(number.to_bytes(8, "little") + b"R" * draw.choice((20, 4000, 8100)), 1):
                sent[0] = number
                number += 1

    def reap(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pids.remove(pid)

    landed = set()
    try:
        producer = start(produce)
        for number in range(1000 * STORM):
            # Of which some are killed before they had a processor, where others want it, too.
            if number >= 200 * STORM and sent[0] > 1000:
                break
            path = place / f"{number}.landing"
            consumer = start(lambda path=path: consume(lane, path, processed))
            time.sleep(draw.uniform(0.001, 0.006))
            reap(consumer)
            for one in Landing.read(path):
                landed.add(int.from_bytes(one.record[:8], "little"))
            path.unlink(missing_ok=True)
        reap(producer)
    finally:
        for pid in list(pids):
            reap(pid)
    while (record := lane.receive()) is not None:
        landed.add(int.from_bytes(record[:8], "little"))
    lost = [number for number in range(1, sent[0] + 1) if not processed[number] and number not in landed]
    assert lost == []
    assert sent[0] > 1000 and any(landed)

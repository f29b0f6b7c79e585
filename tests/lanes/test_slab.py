"""A slab: bodies are read by others, slots come back, and the file goes with the last of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from haypile.lanes.errors import NoRoom
from haypile.lanes.slab import Slab, Spare

SLOTS, BYTES = 4, 8192


@pytest.fixture
def made(place: Path) -> Iterator[Slab]:
    one = Slab.create(place / "1.bodies.8192", SLOTS, BYTES)
    yield one
    one.close()


@pytest.fixture
def other(made: Slab) -> Iterator[Slab]:
    """The same, as another process has it."""
    one = Slab.open(made.path)
    assert one is not None
    yield one
    one.close()


def fill(slab: Slab, *bodies: bytes) -> list[tuple[int, int]]:
    places = [slab.put(body) for body in bodies]
    return [place for place in places if place is not None]


def test_a_body_is_read_by_another_and_its_slot_comes_back(made: Slab, other: Slab) -> None:
    places = fill(made, b"a" * BYTES, b"b", b"", b"d" * 100)
    assert len({slot for slot, _ in places}) == len({number for _, number in places}) == SLOTS
    assert made.put(b"e") is None and sorted(made.taken()) == [0, 1, 2, 3]
    for (slot, number), body in zip(places, (b"a" * BYTES, b"b", b"", b"d" * 100), strict=True):
        assert other.has(slot, number, len(body)) and other.body(slot, len(body)) == body
    slot, number = places[1]
    other.give_back(slot)
    assert not other.has(slot, number, 1) and slot not in made.taken()
    again = made.put(b"f")
    assert again is not None and again[0] == slot and again[1] not in [number for _, number in places]
    assert not other.has(slot, number, 1) and other.has(*again, 1)


def test_what_was_never_put_is_not_there(made: Slab) -> None:
    ((slot, number),) = fill(made, b"a")
    assert not made.has(slot, number + 1, 1)
    assert not made.has(slot, number, BYTES + 1)
    assert not made.has(SLOTS, number, 1)
    free = next(one for one in range(SLOTS) if one != slot)
    assert not made.has(free, 0, 1)


def test_a_wait_ends_with_a_slot_or_after_its_time(made: Slab, other: Slab, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, *_) = fill(made, b"a", b"b", b"c", b"d")
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 0.005:
            other.give_back(first[0])

    monkeypatch.setattr("haypile.lanes.slab.time.monotonic", lambda: now[0])
    monkeypatch.setattr("haypile.lanes.slab.time.sleep", sleep)
    assert not made.wait(0.001)
    assert made.wait(0.1) and now[0] < 0.01
    assert made.put(b"e") is not None


def test_what_the_dead_had_claimed_comes_back_and_nothing_else(made: Slab, other: Slab) -> None:
    places = fill(made, b"a", b"b", b"c")
    for (slot, _), who in zip(places, (7, 8, 0), strict=True):
        other.claim(slot, who)
    made.release(7)
    assert sorted(made.taken()) == sorted(slot for slot, _ in places[1:])
    # A claim does not outlive the body it was of.
    other.give_back(places[1][0])
    fill(made, b"d", b"e", b"f")
    made.release(8)
    assert len(made.taken()) == SLOTS


def test_the_file_goes_with_the_last_body(made: Slab, other: Slab) -> None:
    before = os.stat(made.path).st_blocks
    (first, second) = fill(made, b"a" * BYTES, b"b" * BYTES)
    made.leave()
    # Memory goes at once where no body is.
    assert os.stat(made.path).st_blocks * 512 <= before * 512 - 2 * BYTES
    other.give_back(first[0])
    assert os.stat(made.path).st_blocks * 512 <= before * 512 - 3 * BYTES
    assert other.has(*second, BYTES) and other.body(second[0], BYTES) == b"b" * BYTES
    other.give_back(second[0])
    assert not made.path.exists()
    assert Slab.open(made.path) is None


def test_a_slab_without_bodies_goes_with_its_maker(made: Slab) -> None:
    made.leave()
    assert not made.path.exists()


@pytest.mark.parametrize("content", [None, b"", b"haybody1", b"x" * 100_000, b"haybody1" + b"\xff" * 100_000])
def test_what_is_no_slab_is_not_opened(place: Path, content: bytes | None) -> None:
    path = place / "1.bodies.16384"
    if content is not None:
        path.write_bytes(content)
    assert Slab.open(path) is None


def test_a_slab_cut_short_is_not_opened(made: Slab) -> None:
    os.truncate(made.path, 4096 + SLOTS * BYTES - 1)
    assert Slab.open(made.path) is None


def test_no_link_and_no_fifo_is_opened(place: Path, made: Slab) -> None:
    (place / "link").symlink_to(made.path)
    assert Slab.open(place / "link") is None
    os.mkfifo(place / "fifo")
    assert Slab.open(place / "fifo") is None


def test_its_mode_is_what_was_asked_for(place: Path) -> None:
    umask = os.umask(0o077)
    try:
        made = Slab.create(place / "shared", SLOTS, BYTES, 0o660)
    finally:
        os.umask(umask)
    made.close()
    assert stat.S_IMODE(os.stat(place / "shared").st_mode) == 0o660


def test_no_room_leaves_no_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoom, match="no room for 36864 bytes in"):
        Slab.create(place / "1.bodies.8192", SLOTS, BYTES)
    assert list(place.iterdir()) == []


def test_spare_descriptors_are_kept_once_and_dropped_once() -> None:
    spare, fd = Spare(), os.open("/dev/null", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    spare.keep(fd)
    spare.keep(fd)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert spare.drop() and not spare.drop()
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)

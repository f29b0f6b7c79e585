"""The gate page: shared, growing, made anew when it must be, never wrongly open."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from haypile.hay.gates import (
    CHUNK,
    CLOSED,
    CONSUMERS,
    GENERATION,
    HEADER_WORDS,
    QUEUE,
    SLOT_WORDS,
)
from haypile.hay.store import Hay

PER_CHUNK = (CHUNK // 8 - HEADER_WORDS) // SLOT_WORDS


def allocate(hay: Hay, number: int) -> list[int]:
    with hay.write() as txn:
        return [hay.gates.allocate(txn) for _ in range(number)]


def base(slot: int) -> int:
    return HEADER_WORDS + SLOT_WORDS * slot


def test_a_new_slot_is_closed_and_free_ones_are_used_again(hay: Hay) -> None:
    words = hay.gates.words
    first, second = allocate(hay, 2)
    assert (first, second) == (0, 1)
    generation = words[base(first) + GENERATION]
    words[base(first) + CLOSED] = 0
    words[base(first) + CONSUMERS] = 3
    words[base(first) + QUEUE] = 7
    with hay.write() as txn:
        hay.gates.free(txn, first)
        assert words[base(first) + CLOSED] == 1
        assert words[base(first) + CONSUMERS] == 3
    assert words[base(first) + CONSUMERS] == words[base(first) + QUEUE] == 0
    assert allocate(hay, 2) == [first, 2]
    assert words[base(first) + CLOSED] == 1
    assert words[base(first) + GENERATION] > generation


def test_a_rolled_back_slot_is_not_given_out_twice(hay: Hay) -> None:
    with pytest.raises(ZeroDivisionError), hay.write() as txn:
        assert hay.gates.allocate(txn) == 0
        raise ZeroDivisionError
    assert allocate(hay, 2) == [0, 1]


def test_the_page_grows_and_old_views_stay_true(hay: Hay, child: Callable[[Callable[[], None]], int]) -> None:
    old = hay.gates.words

    def grow() -> None:
        slots = allocate(hay, PER_CHUNK + 10)
        hay.gates.words[base(slots[-1]) + QUEUE] = 77
        hay.gates.words[base(0) + QUEUE] = 66

    pid = child(grow)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(hay.gates.words) == CHUNK // 8
    with pytest.raises(IndexError, match=r"never allocated"):
        hay.gates.ensure(3 * PER_CHUNK)
    hay.gates.ensure(PER_CHUNK + 9)
    assert hay.gates.words[base(PER_CHUNK + 9) + QUEUE] == 77
    assert hay.gates.words[base(PER_CHUNK + 9) + CLOSED] == 1
    assert old[base(0) + QUEUE] == 66
    old[base(0) + QUEUE] = 55
    assert hay.gates.words[base(0) + QUEUE] == 55


@pytest.mark.parametrize("harm", ["missing", "short", "foreign"])
def test_a_page_that_cannot_be_trusted_is_made_anew_with_closed_gates(place: Path, harm: str) -> None:
    hay = Hay.open(place)
    slots = allocate(hay, PER_CHUNK + 5)
    for slot in slots:
        hay.gates.words[base(slot) + CLOSED] = 0
    with hay.write() as txn:
        txn.put_row(b"a", b"b")
    hay.close()
    page = place / "hay" / "gates"
    if harm == "missing":
        page.unlink()
    elif harm == "short":
        os.truncate(page, CHUNK)
    else:
        page.write_bytes(bytes(2 * CHUNK))
    hay = Hay.open(place)
    assert all(hay.gates.words[base(slot) + CLOSED] for slot in slots)
    assert hay.gates.version == 1
    assert page.stat().st_size == 2 * CHUNK and page.stat().st_mode & 0o777 == 0o600
    assert allocate(hay, 1) == [PER_CHUNK + 5]
    hay.close()


def test_a_lagging_version_is_repaired_at_opening(place: Path) -> None:
    hay = Hay.open(place)
    with hay.write() as txn:
        txn.put_row(b"a", b"b")
    hay.gates.version = 0
    hay.close()
    hay = Hay.open(place)
    assert hay.gates.version == 1
    hay.close()


def test_header_words(hay: Hay) -> None:
    gates = hay.gates
    gates.due, gates.epoch, gates.alarm = 1 << 62, 3, 1
    assert (gates.due, gates.epoch, gates.alarm) == (1 << 62, 3, 1)
    assert list(gates.words[1:4]) == [1 << 62, 3, 1]

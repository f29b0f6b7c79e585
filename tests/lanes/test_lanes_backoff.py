"""What is in vain is left out, twice as often after each time; what pays is tried."""

from __future__ import annotations

from haypile.lanes.backoff import Backoff


def left_out(backoff: Backoff) -> int:
    """How many are left out until the next try."""
    count = 0
    while backoff.leaves_out():
        count += 1
    return count


def after_tries_in_vain(backoff: Backoff, tries: int) -> list[int]:
    """How many are left out after each of so many ``tries``, all in vain."""
    counts = []
    for _ in range(tries):
        backoff.in_vain()
        counts.append(left_out(backoff))
    return counts


def test_the_first_is_tried_and_what_pays_always() -> None:
    backoff = Backoff(8)
    for _ in range(3):
        assert not backoff.leaves_out()
        backoff.paid()


def test_twice_as_many_after_each_time_in_vain() -> None:
    assert after_tries_in_vain(Backoff(8), 6) == [1, 2, 4, 8, 8, 8]


def test_the_first_number_and_the_last_may_be_any() -> None:
    assert after_tries_in_vain(Backoff(100, first=16), 5) == [16, 32, 64, 100, 100]


def test_every_second_one_in_vain_stays_worth_its_price() -> None:
    backoff = Backoff(64)
    after_tries_in_vain(backoff, 5)
    for _ in range(10):
        backoff.paid()
        assert after_tries_in_vain(backoff, 1) == [16]


def test_each_one_that_pays_brings_the_next_nearer() -> None:
    backoff = Backoff(64)
    after_tries_in_vain(backoff, 7)
    counts = []
    for _ in range(4):
        backoff.paid()
        backoff.paid()
        counts += after_tries_in_vain(backoff, 1)
    assert counts == [32, 16, 8, 4]


def test_a_reset_forgets_all_of_it() -> None:
    backoff = Backoff(64, first=4)
    after_tries_in_vain(backoff, 3)
    backoff.reset()
    assert after_tries_in_vain(backoff, 2) == [4, 8]

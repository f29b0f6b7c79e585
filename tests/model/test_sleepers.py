"""The protocol of sleeping without a descriptor, explored: what keeps whom awake."""

from __future__ import annotations

import pytest

from tests.model.sleepers import explore


def between_send_and_ring(way: list[str]) -> bool:
    """Whether a publisher was killed after it sent and before it had rung everybody."""
    return any("KILLED" in step and step.startswith("p") and not step.endswith("send") for step in way)


@pytest.mark.parametrize("publishers, consumers", [(1, 1), pytest.param(2, 1, marks=pytest.mark.slow), (1, 2)])
def test_nobody_sleeps_beside_a_message(publishers: int, consumers: int) -> None:
    """But for a publisher killed before it rang: the look once a second ends that."""
    report = explore(publishers, consumers)
    assert report.states > 100
    assert [way for way in report.stalled if not between_send_and_ring(way)] == []


def test_the_second_look_is_needed() -> None:
    assert [way for way in explore(1, 1, look_again=False).stalled if not between_send_and_ring(way)]


@pytest.mark.slow
def test_wiping_the_word_would_be_no_better() -> None:
    """A publisher killed between wiping and ringing leaves sleepers that others do not ring either."""
    numbers = [explore(2, 1, clears=clears) for clears in (False, True)]
    assert len(numbers[0].stalled) < len(numbers[1].stalled)

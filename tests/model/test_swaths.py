"""The protocol of laid messages, explored: nothing is lost, doubled, overtaken or overlooked; and what that takes."""

from __future__ import annotations

import pytest

from tests.model.swaths import Report, Rules, explore


def faults(report: Report) -> list[str]:
    """What went wrong."""
    assert report.states > 1000
    return [name for name in ("lost", "twice", "reordered", "stalled", "hidden") if getattr(report, name)]


@pytest.mark.parametrize("kills", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_nothing_is_lost_doubled_overtaken_or_overlooked(kills: int) -> None:
    assert faults(explore(kills)) == []


def test_without_kills_nobody_needs_the_look_once_a_second() -> None:
    assert faults(explore(0, Rules(ticks=False))) == []


@pytest.mark.parametrize(
    "rules, fault",
    [
        (Rules(asks_again=False), "stalled"),
        (Rules(in_two_steps=False), "hidden"),
        (Rules(noted=False), "twice"),
        (Rules(wakes=False, ticks=False), "stalled"),
    ],
    ids=["asks again", "in two steps", "noted", "wakes"],
)
def test_every_rule_is_needed(rules: Rules, fault: str) -> None:
    assert fault in faults(explore(1, rules))

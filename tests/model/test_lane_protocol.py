"""The protocol's model, explored whole for small sizes; and proof that it can find what is wrong."""

from __future__ import annotations

import pytest

from tests.model.lane_protocol import Limits, explore


@pytest.mark.parametrize(
    ("consumers", "limits"),
    [
        (1, Limits(capacity=1, kills=1, leaves=1)),
        (1, Limits(capacity=2, kills=1, leaves=1)),
        (1, Limits(capacity=1, kills=0, leaves=2)),
        (2, Limits(capacity=1, kills=1, leaves=0)),
    ],
    ids=str,
)
def test_protocol_holds(consumers: int, limits: Limits) -> None:
    """Nothing lost, stalled, reordered or doubled in any interleaving."""
    report = explore(consumers, limits)
    assert report.states > 1000
    assert report.clean, " | ".join((report.lost + report.stalled + report.reordered + report.doubled)[0])


def test_a_killed_token_taker_stalls_the_others_without_the_look_once_a_second() -> None:
    """What the look once a second is for."""
    assert explore(2, Limits(capacity=1, kills=1, leaves=0, tick=False)).stalled


def test_a_publisher_that_does_not_look_again_strands_messages() -> None:
    """What the lane generation is for."""
    report = explore(1, Limits(capacity=1, kills=0, leaves=1, look_again=False))
    assert report.lost or report.stalled

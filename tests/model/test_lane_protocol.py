"""The protocol's model, explored whole for small sizes; and proof that it can find what is wrong."""

from __future__ import annotations

from functools import partial

import pytest

from tests.model.lane_protocol import Limits, explore

FEW = ((1, 2), (11,))
ONE = ((1, 2),)
#: The one that goes to the hay comes before what is in the lane, or in the midst of it.
LATE, MIXED = ((3, 4), (2,)), ((1, 3, 4), (2,))

slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("consumers", "limits"),
    [
        (1, Limits(capacity=1, kills=1, leaves=0, publishers_die=True, publishers=FEW)),
        (1, Limits(capacity=2, kills=1, leaves=1, publishers=FEW)),
        (1, Limits(capacity=1, kills=0, leaves=2, publishers=FEW)),
        (1, Limits(capacity=2, kills=2, leaves=1, publishers_die=True, publishers=ONE)),
        (2, Limits(capacity=1, kills=1, leaves=0, publishers_die=True, publishers=ONE)),
        (2, Limits(capacity=2, kills=2, leaves=0, publishers=ONE)),
        (2, Limits(capacity=1, kills=1, leaves=0, publishers_die=True, turns=True, publishers=ONE)),
        slow(1, Limits(capacity=1, kills=1, leaves=0, refits=1, publishers_die=True, publishers=FEW)),
        slow(1, Limits(capacity=1, kills=0, leaves=1, refits=2, publishers=FEW)),
        (2, Limits(capacity=2, kills=1, leaves=0, refits=1, publishers=ONE)),
        slow(2, Limits(capacity=2, kills=0, leaves=0, tick=False, turns=True, publishers=FEW)),
        (2, Limits(capacity=2, kills=0, leaves=0, publishers=LATE)),
        slow(2, Limits(capacity=2, kills=1, leaves=0, publishers=LATE)),
        slow(2, Limits(capacity=2, kills=0, leaves=0, publishers=MIXED)),
    ],
    ids=str,
)
def test_protocol_holds(consumers: int, limits: Limits) -> None:
    """Nothing lost, stalled, reordered or doubled in any interleaving.

    Larger: ``python -m tests.model.lane_protocol``.
    """
    report = explore(consumers, limits)
    assert report.states > 1000
    assert report.clean, " | ".join((report.lost + report.stalled + report.reordered + report.doubled)[0])


def test_a_killed_token_taker_stalls_the_others_without_the_look_once_a_second() -> None:
    """What the look once a second is for."""
    assert explore(2, Limits(capacity=1, kills=1, leaves=0, tick=False, publishers=ONE)).stalled


def test_a_publisher_that_does_not_look_again_strands_messages() -> None:
    """What the lane generation is for."""
    report = explore(1, Limits(capacity=1, kills=0, leaves=1, look_again=False, publishers=FEW))
    assert report.lost or report.stalled


def test_a_recovery_that_does_not_look_at_batches_doubles_messages() -> None:
    """What the batch number in a slot and in the session's row is for."""
    sizes = Limits(capacity=2, kills=1, leaves=0, publishers=((1, 3, 2),))
    # (Not sent in the order of their numbers.)
    assert explore(2, sizes)._replace(reordered=[]).clean
    assert explore(2, sizes._replace(batches=False)).doubled


def test_a_publisher_killed_between_store_and_token_stalls_others_without_the_look_once_a_second() -> None:
    limits = Limits(capacity=1, kills=1, leaves=0, tick=False, publishers_die=True, publishers=ONE)
    assert any("p0 KILLED before wake" in way for way in explore(1, limits).stalled)
    assert explore(1, limits._replace(tick=True)).clean


def test_a_sleeper_killed_in_its_turn_stalls_the_others_without_the_look_once_a_second() -> None:
    limits = Limits(capacity=1, kills=1, leaves=0, tick=False, turns=True, publishers=ONE)
    assert any("KILLED before asleep" in label for way in explore(2, limits).stalled for label in way)
    assert explore(2, limits._replace(tick=True)).clean


def test_a_consumer_that_does_not_look_behind_is_given_messages_out_of_order() -> None:
    """What the gate's third value is for: the lane is drained after the consumer saw the gate open."""
    limits = Limits(capacity=2, kills=0, leaves=0, look_behind=False, publishers=LATE)
    assert explore(2, limits).reordered

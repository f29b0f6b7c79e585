"""Publishing while a queue is deleted and declared again, explored whole; and proof that it can find what is wrong."""

from __future__ import annotations

import pytest

from tests.model.deletion import explore


@pytest.mark.parametrize("publishers, messages, kills", [(1, 3, 2), (2, 1, 2)])
def test_nothing_is_lost_or_left(publishers: int, messages: int, kills: int) -> None:
    """Larger: ``python -m tests.model.deletion``."""
    report = explore(publishers, messages, kills)
    assert report.states > 1000
    assert report.clean, " | ".join((report.lost + report.misplaced + report.leaked)[0])


def test_a_publisher_that_does_not_look_at_the_version_publishes_to_what_is_gone() -> None:
    assert explore(1, 2, 0, looks=False).misplaced

"""What bench.scale measures at full size holds at a smaller one: ratios, in processor time."""

from __future__ import annotations

import pytest

from bench import scale


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("topic", 1500), ("headers", 300), ("queues", 800)])
def test_publishing_costs_the_same_with_more_of_everything(name: str, size: int) -> None:
    assert scale.measure(name, size)["ratio"] < 2


@pytest.mark.timeout(120)
def test_a_queue_expires_while_another_process_publishes() -> None:
    found = scale.measure("expiry", 5000)
    assert found["messages"] == 5000
    assert found["published during"] > 0

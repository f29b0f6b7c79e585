"""A RabbitMQ and haypile, driven by the same random operations: nobody can tell which is which.

HAYPILE_SEQUENCES and HAYPILE_STEPS set how many sequences of how many operations;
``--hypothesis-profile=nightly`` is 1,000 of 60.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

import haypile
from haypile.wires import ways
from tests.conftest import LOCAL_TRANSPORTS
from tests.differential.machine import SIZE, Differential
from tests.differential.side import Side
from tests.support.rabbitmq import Broker


def sequences() -> settings:
    """As the profile says, or the environment."""
    chosen = settings()
    return settings(
        max_examples=int(os.environ.get("HAYPILE_SEQUENCES", chosen.max_examples)),
        stateful_step_count=int(os.environ.get("HAYPILE_STEPS", chosen.stateful_step_count)),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )


@pytest.fixture(autouse=True)
def quiet_pika() -> Iterator[None]:
    """pika warns of every refused operation, and half of these are."""
    logger = logging.getLogger("pika")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def short_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages take the short way whenever there is one (``broker.express``)."""
    monkeypatch.setattr(ways, "WAY_EVERY", 1)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("transport", LOCAL_TRANSPORTS)
def test_same_as_rabbitmq(transport: str, rabbitmq_followed: Broker, state_directory: Path) -> None:
    remote = pika.URLParameters(rabbitmq_followed.vhost_url(rabbitmq_followed.fresh_vhost()))
    numbers = itertools.count()

    def make_sides() -> tuple[Side, Side]:
        local = haypile.URLParameters(f"{transport}:///v{next(numbers)}")
        local.virtual_host = remote.virtual_host  # only for texts: the URL decides
        return (
            Side("RabbitMQ", lambda: pika.BlockingConnection(remote), SIZE),
            Side(transport, lambda: haypile.BlockingConnection(local), SIZE),
        )

    machine = type("Differential", (Differential,), {"make_sides": staticmethod(make_sides)})
    run_state_machine_as_test(machine, settings=sequences())

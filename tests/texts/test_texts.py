"""haypile answers every step of every scenario as the recorded RabbitMQ did; and the record is true."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.differential.local import Local
from tests.differential.oracle import Oracle
from tests.support.rabbitmq import Broker
from tests.texts.running import RECORD, run
from tests.texts.scenarios import PLAIN, SCENARIOS

RABBITMQ: dict[str, list[Any]] = json.loads(RECORD.read_text())


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory in memory."""
    directory = Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/dev/shm"))
    yield directory
    # A session and its channels know each other; the store's memory is mapped until they are collected.
    gc.collect()
    shutil.rmtree(directory)


#: What is not as it should be yet.
PENDING: dict[str, str] = {
}


def compare(name: str, replies: list[Any]) -> None:
    """Name the first step that differs."""
    for step, expected, got in zip(SCENARIOS[name], RABBITMQ[name], replies, strict=True):
        assert got == expected, f"after {step}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=PENDING[name], strict=True)) if name in PENDING else name
        for name in SCENARIOS
    ],
)
def test_haypile_answers_as_rabbitmq_did(name: str, place: Path) -> None:
    compare(name, run(SCENARIOS[name], lambda: Local(place / "vhost"), "/"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_the_record_is_true(name: str, rabbitmq_followed: Broker) -> None:
    url = rabbitmq_followed.vhost_url(rabbitmq_followed.fresh_vhost())
    compare(name, run(SCENARIOS[name], lambda: Oracle.at(url), Oracle.vhost_of(url)))

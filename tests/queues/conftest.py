"""Queues in a state directory of the test's own, on each transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from haypile import queues

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_resource_tracker() -> Iterator[None]:
    """multiprocessing's helper process stays for ever otherwise, and looks like a leak."""
    yield
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.fixture(params=["posix", "sysv"])
def url(request: pytest.FixtureRequest, state_directory: Path) -> str:
    """Where the queues of this test are."""
    return f"{request.param}:///queues"


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes queues that are gone after the test: ``make(queues.JoinableQueue, 5)``."""
    made = []

    def one(kind: Any = queues.Queue, *arguments: Any, **options: Any) -> Any:
        made.append(kind(*arguments, url=url, **options))
        return made[-1]

    yield one
    for queue in made:
        queue.close()
        queue.unlink()

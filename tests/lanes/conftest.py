"""Lanes that are gone after the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from haypile.lanes.limits import LaneRoom
from haypile.lanes.posix import PosixLane, PosixLanes

#: Room as on a machine with default limits, whatever this one has.
SMALL = LaneRoom(limit=819_200, used=800_000, maxmsg=10, msgsize=8192)
ROOMY = LaneRoom(limit=819_200, used=0, maxmsg=10, msgsize=8192)


@pytest.fixture
def lane() -> Iterator[PosixLane]:
    """A lane of 10 x 8192 bytes."""
    made = PosixLanes().create("haypile-test", ROOMY)
    assert made is not None
    yield made
    made.unlink()
    made.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in shared memory."""
    directory = Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)

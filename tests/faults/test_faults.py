"""A process is killed between every two kinds of steps; ``python -m tests.faults`` does it at every single point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haypile.lanes.landing import Landing
from tests.conftest import LOCAL_TRANSPORTS
from tests.faults import check
from tests.faults.check import run
from tests.faults.points import STEPS
from tests.faults.scenarios import SCENARIOS
from tests.model import lane_protocol
from tests.support.kernel_queues import KernelQueues

#: Steps of the model that have no effect of their own: looks at the gate page, being asleep or absent.
LOOKS = {"look at gate", "look at token", "look at generation", "look again", "look behind", "asleep", "absent", "dead"}
#: To come to a point once more: which way a message takes depends on what others take of the kernel's room for lanes.
ATTEMPTS = 3


@pytest.fixture(scope="module")
def queues() -> Iterator[KernelQueues]:
    """A look at the kernel's queues."""
    made = KernelQueues()
    yield made
    made.close()


def points(scenario: str, transport: str, queues: KernelQueues, directory: Path) -> list[str]:
    """The names of all points a scenario comes to, in order; nothing may be wrong without a kill either."""
    record = directory / "points"
    killed, found = run(SCENARIOS[scenario], transport, 0, queues, record)
    assert not killed and not found, found
    return record.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.storm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", LOCAL_TRANSPORTS)
def test_killed_between_every_two_kinds_of_steps(transport: str, queues: KernelQueues, tmp_path: Path) -> None:
    """Nothing is lost, stuck, doubled or left behind: killed where each kind of point comes first.

    And every step of the table is gone through in some scenario.
    """
    seen: set[str] = set()
    gone: set[str] = set()
    wrong = []
    for number, scenario in enumerate(SCENARIOS):
        directory = tmp_path / str(number)
        directory.mkdir()
        for line in points(scenario, transport, queues, directory):
            name, _, steps = line.partition("|")
            gone.update(steps.split(","))
            if name not in seen:
                seen.add(name)
                for _ in range(ATTEMPTS):
                    killed, found = run(SCENARIOS[scenario], transport, name, queues)
                    wrong += [f"{scenario!r}, {name}: {one}" for one in found]
                    if killed:
                        break
                assert killed, (scenario, name)
    assert not wrong, "\n".join(wrong)
    # System V sleepers wait for no lane; a POSIX lane never holds more than slots are free.
    assert set(STEPS) - gone == ({"leave token"} if transport == "sysv" else {"make way"})


def test_steps_are_called_what_the_model_calls_them() -> None:
    assert set(STEPS) >= lane_protocol.STEPS - LOOKS


def test_what_recovery_forgets_is_found(queues: KernelQueues, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proof that a fault would be seen."""
    at = "ack: before Landing.clear"
    assert run(SCENARIOS["consume"], "posix", at, queues) == (True, [])
    monkeypatch.setattr(check, "PATIENCE", 0.3)
    monkeypatch.setattr(Landing, "read", staticmethod(lambda _: iter(())))
    killed, found = run(SCENARIOS["consume"], "posix", at, queues)
    assert killed and len(found) == 1 and found[0].startswith("lost or stuck"), found

"""A short storm on every lane; the long one is ``python -m tests.storms``. And proof that it sees what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LOCAL_TRANSPORTS
from tests.storms.ledger import Account

ROOT = Path(__file__).resolve().parents[2]
KILLS = 60


@pytest.mark.storm
@pytest.mark.parametrize("transport", LOCAL_TRANSPORTS)
def test_a_short_storm(transport: str) -> None:
    """Nothing is lost, doubled, stuck or left behind. In a process of its own: it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.storms", "--kills", str(KILLS), "--lanes", transport, "--round", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = r"(\d+) kills .* (\d+) messages confirmed, (\d+) deliveries, (\d+) of them redelivered"
    found = re.search(said, done.stdout)
    assert found is not None and int(found[1]) >= KILLS, done.stdout
    # Else the workers did not work: there was nothing to lose.
    assert int(found[2]) > 100 and int(found[3]) > 100 and int(found[4]) > 0, done.stdout


def test_the_ledger_finds_what_is_wrong() -> None:
    """One line each of what must be found."""
    account = Account()
    account.add(["S 1.1 - 0", "C 1.1 plain1 0", "S 1.2 - 0", "C 1.2 plain1,plain2 0", "S 1.3 - 0", "C 1.3 plain1 0"])
    account.add(["D 1.2 plain1 0", "A 1.2 plain1 0", "D 1.1 plain1 0", "A 1.1 plain1 0"])
    account.add(["D 1.1 plain1 0", "R 1.2 plain1 0", "D 9.9 plain1 0"])
    assert account.lost() == ["1.2 in plain2", "1.3 in plain1"]
    assert account.doubled() == ["1.1 in plain1, 2 times"]
    assert account.invented() == ["9.9"]
    assert account.disorder == ["1.1 after 1.2 in plain1"]

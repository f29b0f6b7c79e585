"""A short run of the fuzzers; the long one is ``python -m tests.hostile.fuzz``."""

from __future__ import annotations

import pytest

from tests.hostile import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_decoders_refuse_what_they_did_not_write(seed: int) -> None:
    tally = fuzz.run(6_000, seed)
    assert set(tally) >= {"record", "table", "queue row", "exchange row", "journal", "landing"}
    assert all(total > 100 for total, _ in tally.values())
    total, good = tally["record"]
    assert 0 < good < total

"""One producer, one consumer, automatic acknowledgement: the plain way through."""

from __future__ import annotations

from functools import partial

from bench.metrics import Sample
from bench.rivals import RIVALS
from bench.scenarios.scenario import Rival, Scale, Scenario, one_to_one
from bench.transports import Transport

#: Body sizes in bytes: small, usual, near the kernel's limit of 8192, beyond it.
SIZES = {"100B": 100, "1KB": 1024, "5KB": 5000, "64KB": 65536, "1MB": 1_000_000}


def work(scale: Scale, size: int) -> int:
    """Messages of one run."""
    if size > 100_000:
        return scale.pick(20, 300, 1_200)
    return scale.pick(40, 3_000, 12_000) if size > 8192 else scale.pick(300, 12_000, 40_000)


def sample(size: int, scale: Scale, transport: Transport) -> Sample:
    return one_to_one(transport, [], ["--size", str(size)], work(scale, size))


def rivals(size: int) -> dict[str, Rival]:
    return {
        name: partial(rival.through, size, work=partial(work, size=size))
        for name, rival in RIVALS.items()
        if rival.carries(size)
    }


SCENARIOS = tuple(
    Scenario(f"end-to-end-{label}", f"1 to 1, auto-ack, {label}", partial(sample, size), rivals(size))
    for label, size in SIZES.items()
)

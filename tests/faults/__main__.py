"""``python -m tests.faults``: kill a process at every single point of every scenario."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.check import run
from tests.faults.scenarios import SCENARIOS
from tests.support.kernel_queues import KernelQueues


def main() -> int:
    """0 when nothing was lost, doubled, stuck or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--lanes", default="posix,sysv", help="transports (default: posix,sysv)")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--at", type=int, default=0, help="this point alone")
    options = parser.parse_args()
    queues = KernelQueues()
    faults = 0
    for transport in options.lanes.split(","):
        for name, scenario in SCENARIOS.items():
            if options.only not in name:
                continue
            begin, at, killed, wrong = time.monotonic(), options.at or 1, True, 0
            while killed:
                killed, found = run(scenario, transport, at, queues)
                if found:
                    where = point_name(name, transport, at, queues)
                    print(f"{transport}, {name!r}, point {at} ({where}):", *found, sep="\n  ", flush=True)
                wrong += bool(found)
                at += 1
                killed = killed and not options.at
            print(
                f"{transport}, {name!r}: killed at each of {at - 2} points, {wrong} faults, "
                f"{time.monotonic() - begin:.0f} s",
                flush=True,
            )
            faults += wrong
    queues.close()
    return 1 if faults else 0


def point_name(scenario: str, transport: str, at: int, queues: KernelQueues) -> str:
    """What the point is called."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory, "points")
        run(SCENARIOS[scenario], transport, at, queues, record)
        return record.read_text().splitlines()[-1].partition("|")[0] if record.exists() else "none"


if __name__ == "__main__":
    sys.exit(main())

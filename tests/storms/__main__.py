"""``python -m tests.storms``: kill programs at random, and account for every message."""

from __future__ import annotations

import argparse
import random
import sys

from tests.storms import storm


def main() -> int:
    """0 when nothing was lost, doubled, stuck or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="for so long (default: one minute)")
    parser.add_argument("--kills", type=int, default=0, help="or until so many were killed, over each transport")
    parser.add_argument("--lanes", default="posix,sysv", help="transports (default: posix,sysv)")
    parser.add_argument("--durability", choices=("disk", "host"), default="disk", help="as in the URL (default: disk)")
    parser.add_argument("--round", type=float, default=10.0, help="seconds between two calms")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--keep", action="store_true", help="leave the state and stuck workers for a look")
    options = parser.parse_args()
    seconds = options.minutes * 60 or (1e9 if options.kills else 60)
    faults = 0
    for transport in options.lanes.split(","):
        print(f"{transport}: seed {options.seed}", flush=True)
        report = storm.run(
            transport,
            seconds=seconds,
            most=options.kills or sys.maxsize,
            seed=options.seed,
            length=options.round,
            durability=options.durability,
            keep=options.keep,
        )
        print(f"{transport}: {report}", flush=True)
        faults += len(report.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

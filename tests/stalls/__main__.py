"""How long AsyncioConnection keeps its loop: ``python -m tests.stalls [SCENARIO…] [--transport sysv] [--many N]``.

For each scenario the longest wait and the longest work of one callback of the loop, in milliseconds; and how many
calls there were that may have to wait, whether they waited or not. Only those make the status 1.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.stalls.measuring import measure
from tests.stalls.scenarios import SCENARIOS
from tests.support.vhosts import make_state_directory, remove_state_directory, state_environment


def run() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.stalls", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--transport", default="posix", choices=("posix", "sysv"))
    parser.add_argument("--many", type=int, default=10_000, help="messages where many are meant")
    options = parser.parse_args()
    print(f"{'':16}{'waited':>9}{'worked':>9}  callbacks  calls that may wait")
    status = 0
    for name in options.scenarios or SCENARIOS:
        directory = make_state_directory()
        os.environ.update(state_environment(directory))
        try:
            stalls = measure(name, f"{options.transport}:///stalls", options.many)
        finally:
            remove_state_directory(directory)
        times = f"{stalls.waited * 1e3:9.2f}{stalls.worked * 1e3:9.2f}"
        print(f"{name:16}{times}  {stalls.callbacks:9}  {len(stalls.asked)}")
        for call in stalls.asked:
            status = 1
            print(f"{'':8}may wait: {call}")
        for what, seconds, callback in (
            ("waited", stalls.waited, stalls.waiting),
            ("worked", stalls.worked, stalls.working),
        ):
            if seconds > 0.001:
                print(f"{'':8}{what}: {callback}")
    return status


sys.exit(run())

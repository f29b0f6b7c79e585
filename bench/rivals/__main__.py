"""Measure one rival: ``python -m bench.rivals NAME through|round-trip --size N --count N``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from bench.metrics import percentile
from bench.rivals.ends import FORK, Way
from bench.rivals.ways import WAYS

#: Messages before the measured ones: a share of them.
WARM = 20


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def through(make: Callable[[bool], Way], size: int, count: int) -> dict[str, float]:
    """Producer here, consumer in a child. The child's clock is ours: CLOCK_MONOTONIC is the machine's."""
    way = make(False)
    out, into = FORK.Pipe(duplex=False)

    def consume() -> None:
        take = way.taker()
        take(count // WARM)
        into.send(None)
        cpu = time.process_time()
        take(count)
        into.send((time.monotonic(), time.process_time() - cpu))

    child = FORK.Process(target=consume, daemon=True)
    child.start()
    send, body = way.sender(), way.body(size)
    for _ in range(count // WARM):
        send(body)
    out.recv()
    cpu, start = time.process_time(), time.monotonic()
    for _ in range(count):
        send(body)
    end, child_cpu = out.recv()
    cpu = time.process_time() - cpu
    child.join()
    way.close()
    return {"rate": count / (end - start), "cpu": (cpu + child_cpu) / count * 1e6}


def round_trip(make: Callable[[bool], Way], size: int, count: int) -> dict[str, float]:
    """A child sends everything back; waiting is what an event loop does, where the way has a choice."""
    there, back = make(True), make(True)
    warm = count // WARM

    def echo() -> None:
        receive, send = there.receiver(), back.sender()
        for _ in range(warm + count):
            send(receive())

    child = FORK.Process(target=echo, daemon=True)
    child.start()
    send, receive, body = there.sender(), back.receiver(), there.body(size)
    took = []
    for _ in range(warm + count):
        start = time.perf_counter()
        send(body)
        receive()
        took.append(time.perf_counter() - start)
    child.join()
    there.close()
    back.close()
    took = took[warm:]
    return {
        name: percentile(took, share) * 1e6 for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=sorted(WAYS))
    parser.add_argument("what", choices=("through", "round-trip"))
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    measure = through if options.what == "through" else round_trip
    say("measured", **measure(WAYS[options.name], options.size, options.count))
    say("closed")


if __name__ == "__main__":
    main()

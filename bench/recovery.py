"""``python -m bench.recovery``: what a killed consumer costs, and what being safe from it costs.

- How long it takes to put back what a killed consumer held: for the next who connects, and for a connection
  that is open meanwhile (which looks once a second, so this is mostly the time until it looks).
- What a consumer that acknowledges pays for receiving into its landing rather than into its own memory, where a
  kill would lose the message. Both ways take turns in one process; the ratio counts.

Everything runs over a private state directory. Unlike the scenarios this file knows haypile's inside.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import haypile
from bench.transports import SHARED_MEMORY
from haypile.broker.source import Source

#: Messages in a burst: a kernel queue holds ten by default.
BURST = 8


def connect(transport: str) -> Any:
    """A connection to the vhost of this run."""
    return haypile.BlockingConnection(haypile.URLParameters(f"{transport}:///bench"))


def hold(transport: str, count: int, body: bytes) -> int:
    """The pid of a consumer that holds ``count`` messages unacknowledged."""
    connection = connect(transport)
    channel = connection.channel()
    channel.queue_declare("held")
    for _ in range(count):
        channel.basic_publish("", "held", body)
    connection.close()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            channel = connect(transport).channel()
            left = count

            def on_message(*_: object) -> None:
                nonlocal left
                left -= 1
                if not left:
                    os.write(tell, b"!")

            channel.basic_consume("held", on_message)
            channel.start_consuming()
        finally:
            os._exit(1)
    os.close(tell)
    os.read(told, 1)
    os.close(told)
    return pid


def end(pid: int) -> None:
    """SIGKILL, and wait until the kernel has taken it apart."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def ready(channel: Any) -> int:
    """How many messages the queue has."""
    return int(channel.queue_declare("held", passive=True).method.message_count)


def recovered(transport: str, count: int, body: bytes, *, alive: bool) -> float:
    """Seconds from a consumer's end until its messages are back."""
    pid = hold(transport, count, body)
    connection = connect(transport) if alive else None
    channel = connection.channel() if connection is not None else None
    end(pid)
    start = time.perf_counter()
    if connection is None:
        connection = connect(transport)
        took = time.perf_counter() - start
        channel = connection.channel()
        assert ready(channel) == count
    else:
        while ready(channel) < count:
            connection.process_data_events(0.005)
        took = time.perf_counter() - start
    method, _, _ = channel.basic_get("held")
    assert method.redelivered
    channel.queue_delete("held")
    connection.close()
    return took


def guard(transport: str, body: bytes, bursts: int) -> tuple[float, float]:
    """Microseconds a message that a consumer takes and acknowledges: guarded, and not."""
    producer, consumer = connect(transport), connect(transport)
    out, into = producer.channel(), consumer.channel()
    into.queue_declare("guarded")
    into.basic_consume("guarded", lambda channel, method, *_: channel.basic_ack(method.delivery_tag))
    ways = {"guarded": Source.land, "bare": Source.take_from_lane}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(bursts):
        for way, method in ways.items():
            Source.land = method  # type: ignore[method-assign]
            for _ in range(BURST):
                out.basic_publish("", "guarded", body)
            start = time.perf_counter()
            consumer.process_data_events(0)
            spent[way].append((time.perf_counter() - start) / BURST * 1e6)
    Source.land = ways["guarded"]  # type: ignore[method-assign]
    into.queue_delete("guarded")
    consumer.close()
    producer.close()
    return statistics.median(spent["guarded"]), statistics.median(spent["bare"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--transports", default="posix,sysv")
    parser.add_argument("--count", type=int, default=10_000, help="unacknowledged messages of a killed consumer")
    parser.add_argument("--size", type=int, default=100, help="bytes of a body")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bursts", type=int, default=4000)
    options = parser.parse_args()
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="haypile-bench-", dir=place))
    os.environ["HAYPILE_DIR"] = str(directory / "vhosts")
    os.environ["HAYPILE_JOURNAL_DIR"] = str(directory / "journals")
    body = os.urandom(options.size)
    try:
        for transport in options.transports.split(","):
            for alive, who in ((False, "by the next connect"), (True, "by a connection that is open")):
                took = [recovered(transport, options.count, body, alive=alive) for _ in range(options.rounds)]
                text = f"median {statistics.median(took):.3f} s, worst {max(took):.3f} s"
                print(f"{transport}: {options.count} messages put back {who}: {text}", flush=True)
            guarded, bare = guard(transport, body, options.bursts)
            text = f"{guarded:.2f} us a message, {bare:.2f} without ({100 * (1 - bare / guarded):.0f} % of the rate)"
            print(f"{transport}: taken and acknowledged, safe from kills: {text}", flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

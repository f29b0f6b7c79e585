"""Make a topic exchange with many bindings, and take it down again.

Commands: ``bind`` (queues, bindings), ``close``.
"""

from __future__ import annotations

import argparse
import time

from bench.clients.talk import commands, connect, say

#: Binding patterns in turn; the producer publishes ``site.N.unit.temp``, which each of them matches.
PATTERNS = ("site.{}.unit.temp", "site.{}.*.temp", "site.{}.#", "site.{}.unit.*", "#.{}.unit.temp")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exchange", required=True)
    options = parser.parse_args()
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(options.exchange, "topic")
    queues: list[str] = []
    say("ready")
    for command in commands():
        if command["do"] == "bind":
            queues = command["queues"]
            for queue in queues:
                channel.queue_declare(queue)
            start = time.monotonic()
            share = command["bindings"] // len(queues)
            for number in range(command["bindings"]):
                pattern = PATTERNS[number % len(PATTERNS)].format(number)
                channel.queue_bind(queues[min(number // share, len(queues) - 1)], options.exchange, pattern)
            say("bound", seconds=time.monotonic() - start)
        elif command["do"] == "close":
            break
    channel.exchange_delete(options.exchange)
    for queue in queues:
        channel.queue_delete(queue)
    connection.close()
    say("closed")


if __name__ == "__main__":
    main()

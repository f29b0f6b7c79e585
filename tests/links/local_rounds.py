"""A hybrid program that times publishing to a name here: some rounds for each line it is given.

python -m tests.links.local_rounds URL. Before each, it leaves a message for the RabbitMQ in its outbox, so that a link
works, or tries again and again, on a thread of the process. Prints the median's seconds.
"""

from __future__ import annotations

import statistics
import sys
import time

import haypile

ROUNDS = 25
MESSAGES = 300


def main() -> None:
    """See the module."""
    with haypile.BlockingConnection(haypile.URLParameters(sys.argv[1])) as connection:
        channel = connection.channel()
        channel.queue_declare("near", exclusive=True)
        for _ in sys.stdin:
            channel.basic_publish("", "later.jobs", b"waits")
            times = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                for _ in range(MESSAGES):
                    channel.basic_publish("", "near", b"x" * 1000)
                times.append(time.perf_counter() - start)
                channel.queue_purge("near")
            print(statistics.median(times), flush=True)


if __name__ == "__main__":
    main()

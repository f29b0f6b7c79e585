"""A hybrid program that times publishing to a name here: one round for each line it is given.

python -m tests.links.local_rounds URL. Its outbox has a message for the RabbitMQ, so a link works, or tries again and
again, on a thread of the process. Prints seconds of a round.
"""

from __future__ import annotations

import sys
import time

import haypile

MESSAGES = 300


def main() -> None:
    """See the module."""
    with haypile.BlockingConnection(haypile.URLParameters(sys.argv[1])) as connection:
        channel = connection.channel()
        channel.queue_declare("near", exclusive=True)
        channel.basic_publish("", "later.jobs", b"waits")
        for _ in sys.stdin:
            start = time.perf_counter()
            for _ in range(MESSAGES):
                channel.basic_publish("", "near", b"x" * 1000)
            print(time.perf_counter() - start, flush=True)
            channel.queue_purge("near")


if __name__ == "__main__":
    main()

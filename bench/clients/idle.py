"""A process that imports pika, then connects, then consumes from a queue where nothing ever comes.

Commands: ``connect``, ``consume`` (ends by SIGINT, as with Ctrl-C), ``close``.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any

from bench.clients.talk import commands, connect, say


def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    raise AssertionError("nothing was to come")


def main() -> None:
    # A runner started in the background hands down an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    connection = None
    say("imported")
    for command in commands():
        if command["do"] == "connect":
            connection = connect()
            channel = connection.channel()
            say("connected")
        elif command["do"] == "consume" and connection is not None:
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_consume(queue, on_message)
            connection.process_data_events(time_limit=0)
            # The runner's Ctrl-C may come while the word is still on its way out.
            with contextlib.suppress(KeyboardInterrupt):
                say("consuming")
                channel.start_consuming()
        elif command["do"] == "close":
            break
    if connection is not None:
        connection.close()
    say("closed")


if __name__ == "__main__":
    main()

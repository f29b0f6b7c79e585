"""Open and close connections, one after another, while one stays open as it would in a live system.

Commands: ``open`` (count), ``close``.
"""

from __future__ import annotations

import time

from bench.clients.talk import commands, connect, say


def main() -> None:
    start = time.perf_counter()
    stays = connect()
    say("ready", first=time.perf_counter() - start)
    for command in commands():
        if command["do"] == "open":
            opened, closed = [], []
            for _ in range(command["count"]):
                start = time.perf_counter()
                connection = connect()
                ready = time.perf_counter()
                connection.close()
                opened.append(ready - start)
                closed.append(time.perf_counter() - ready)
            say("opened", seconds=opened, close_seconds=closed)
        elif command["do"] == "close":
            break
    stays.close()
    say("closed")


if __name__ == "__main__":
    main()

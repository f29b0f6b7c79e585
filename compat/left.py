"""What is left in the queues of a program that has ended.

Owns: processes that look into the queues of many vhosts, one after the other: to start one for each look takes far
longer than the look.
Must not know: programs, and which results should be equal.

A look connects as any program does, and on a local transport it brings the one connection that clears up after a
killed process. It does not wait for consumers, and takes what it finds.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import pika.exceptions
from tests.support.vhosts import Vhost

import haypile

PROGRAMS = Path(__file__).resolve().parent / "programs"
#: Seconds a look may take.
LIMIT = 60.0


class Looker:
    """A process that looks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=PROGRAMS.parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def look(self, vhost: Vhost, queues: tuple[str, ...]) -> str:
        """What is in these queues, as text; what went wrong, where something did."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Timer(LIMIT, self.process.kill)
        late.start()
        try:
            json.dump((vhost.url, vhost.environment, queues), self.process.stdin)
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            late.cancel()
        return str(json.loads(answer)) if answer else f"looking into the queues ended with {self.process.wait()}"

    def close(self) -> None:
        """End it."""
        with self.process:  # closes its pipes, and waits
            pass


class Lookers:
    """As many of them as look at the same time."""

    def __init__(self) -> None:
        self._free: list[Looker] = []

    def look(self, vhost: Vhost, queues: tuple[str, ...]) -> str:
        """See ``Looker.look``; by any thread."""
        try:
            looker = self._free.pop()
        except IndexError:
            looker = Looker()
        try:
            return looker.look(vhost, queues)
        finally:
            if looker.process.poll() is None:
                self._free.append(looker)
            else:
                looker.close()

    def close(self) -> None:
        """End all of them; nobody is looking any more."""
        while self._free:
            self._free.pop().close()


def left(url: str, queues: list[str]) -> str:
    """What is in ``queues``, taken out of them."""
    from _show import get_all, message, show  # type: ignore[import-not-found]

    printed = io.StringIO()
    with redirect_stdout(printed), haypile.BlockingConnection(haypile.URLParameters(url)) as connection:
        for queue in queues:
            channel = connection.channel()
            try:
                declared = channel.queue_declare(queue, passive=True).method
            except pika.exceptions.ChannelClosedByBroker as error:
                if error.reply_code != 404:
                    show(f"left in {queue!r}", error)
                continue
            show(f"left in {queue!r}", declared.message_count, declared.consumer_count)
            for found in get_all(channel, queue):
                show("  ", message(*found))
    return printed.getvalue()


def main() -> None:
    """A look for each line of stdin: URL, environment, queues; a line of stdout: what there was."""
    sys.path.insert(0, str(PROGRAMS))  # for ``left``: what the programs share
    for line in sys.stdin:
        url, environment, queues = json.loads(line)
        os.environ.update(environment)
        try:
            answer = left(url, queues)
        except Exception:
            answer = f"looking into the queues failed: {traceback.format_exc()[-500:]}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

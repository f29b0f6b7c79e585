"""The ledger: what every worker says it did, in files that survive its SIGKILL.

Owns: the files' layout, and the account that is made of them.
Must not know: haypile, how messages are sent.

A line is written by one ``write`` to a file opened with O_APPEND before or after the step it is
about, so a killed worker's files end with a whole line. Steps of a message, in a queue:

=====  ===================================================================================
step   written
=====  ===================================================================================
S      by the publisher, before it publishes
C      by the publisher, after the broker confirmed it
D, R   by the consumer, when it got it: not redelivered, redelivered
A      by the consumer, before it acknowledges: from now on the message may be gone for good
=====  ===================================================================================
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


class Pen:
    """One worker's file."""

    def __init__(self, directory: Path, name: str) -> None:
        self.fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, step: str, message: str, queue: str = "-") -> None:
        """One line."""
        os.write(self.fd, f"{step} {message} {queue} {time.monotonic():.6f}\n".encode())

    def close(self) -> None:
        """No more lines."""
        os.close(self.fd)


@dataclass
class Account:
    """What the ledger of one round says."""

    sent: set[str] = field(default_factory=set)
    #: Confirmed messages, and the queues each must have reached.
    confirmed: dict[str, list[str]] = field(default_factory=dict)
    #: (message, queue): deliveries without and with ``redelivered``.
    fresh: Counter[tuple[str, str]] = field(default_factory=Counter)
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: (message, origin): where it came from in the end. A dead letter counts for its first queue.
    acked: set[tuple[str, str]] = field(default_factory=set)
    disorder: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Account:
        """All files of ``directory``."""
        account = cls()
        for path in sorted(directory.iterdir()):
            # A kill may fall into the writing of the last line, where it crosses a page: that step was not taken.
            account.add(path.read_text().rpartition("\n")[0].splitlines())
        return account

    def add(self, lines: Iterable[str]) -> None:
        """One worker's lines. Within it, what one publisher sent to a queue comes in order."""
        last: dict[tuple[str, str], int] = defaultdict(int)
        for line in lines:
            step, message, queue, _ = line.split(" ")
            if step == "S":
                self.sent.add(message)
            elif step == "C":
                self.confirmed[message] = queue.split(",")
            elif step == "A":
                self.acked.add((message, queue))
            elif step == "R":
                self.again[message, queue] += 1
            else:
                self.fresh[message, queue] += 1
                publisher, _, number = message.partition(".")
                if int(number) < last[publisher, queue] and queue.startswith("plain"):
                    self.disorder.append(f"{message} after {publisher}.{last[publisher, queue]} in {queue}")
                last[publisher, queue] = int(number)

    def lost(self) -> list[str]:
        """Confirmed messages that nobody has acknowledged."""
        return [
            f"{message} in {queue}"
            for message, queues in self.confirmed.items()
            for queue in queues
            if (message, queue) not in self.acked
        ]

    def doubled(self) -> list[str]:
        """Messages that came again without ``redelivered``."""
        return [f"{message} in {queue}, {count} times" for (message, queue), count in self.fresh.items() if count > 1]

    def invented(self) -> list[str]:
        """Messages that nobody sent."""
        return sorted({message for message, _ in self.fresh} - self.sent)

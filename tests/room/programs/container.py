"""Fill /dev/shm as another user, then drain it. Argument: URL.

Three publishers (two with confirms) publish more than fits, each alone; each must be told that it is blocked, and go
on once somebody consumes. Everything is imported first: the other user may not be able to read this Python's files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import haypile as pika

URL = sys.argv[1]
PUBLISHERS, COUNT, BODY = 3, 9_000, b"x" * 8_000
NOBODY = 65534


def connect() -> Any:
    """A connection of this process."""
    return pika.BlockingConnection(pika.URLParameters(URL))


def warm() -> None:
    """Import what is imported late."""
    os.environ["HAYPILE_DIR"] = "/dev/shm/warm"
    with connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("warm")
        channel.basic_publish("", "warm", b"")
        next(channel.consume("warm", auto_ack=True))
        channel.queue_delete("warm")


def become_nobody() -> None:
    """Another user with a state directory that does not exist yet."""
    os.mkdir("/dev/shm/home")
    os.chown("/dev/shm/home", NOBODY, NOBODY)
    os.environ["HAYPILE_DIR"] = "/dev/shm/home/state"
    os.environ["HAYPILE_JOURNAL_DIR"] = "/dev/shm/home/journal"
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def publish(number: int, told: int) -> None:
    """In a child: say b"b" when blocked, b"u" when unblocked (pika calls back when a publish has returned)."""
    connection = connect()
    connection.add_on_connection_blocked_callback(lambda c, f: os.write(told, b"b"))
    connection.add_on_connection_unblocked_callback(lambda c, f: os.write(told, b"u"))
    channel = connection.channel()
    channel.queue_declare("tasks")
    if number:
        channel.confirm_delivery()
    for one in range(COUNT):
        channel.basic_publish("", "tasks", b"%d %d " % (number, one) + BODY)
    connection.process_data_events(0)
    connection.close()


def start(number: int) -> tuple[int, int]:
    """A publisher; its process and what it says."""
    hear, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            publish(number, told)
            os._exit(0)
        except BaseException as error:
            print(f"publisher {number}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(told)
    return child, hear


def settled(look: Callable[[], int]) -> int:
    """What ``look`` says once it has not changed for a second, and is not 0."""
    last, since = look(), time.monotonic()
    while not last or time.monotonic() - since < 1:
        time.sleep(0.05)
        now = look()
        if now != last:
            last, since = now, time.monotonic()
    return last


def main() -> None:
    """Prints what happened, one line a fact."""
    warm()
    if not os.geteuid():
        become_nobody()
    running = [start(number) for number in range(PUBLISHERS)]
    with connect() as connection:
        channel = connection.channel()
        held = settled(lambda: int(channel.queue_declare("tasks").method.message_count))
        room = os.statvfs("/dev/shm")
        print("full", held * len(BODY) > room.f_blocks * room.f_frsize // 3)
        print("alive", all(os.waitpid(child, os.WNOHANG) == (0, 0) for child, _ in running))
        nexts = [0] * PUBLISHERS
        for method, _, body in channel.consume("tasks", inactivity_timeout=30):
            if method is None:
                break
            number, one, _ = body.split(b" ", 2)
            assert nexts[int(number)] == int(one), (number, one, nexts)
            nexts[int(number)] += 1
            channel.basic_ack(method.delivery_tag)
            if nexts == [COUNT] * PUBLISHERS:
                break
        print("in order", nexts)
        channel.cancel()
    for child, hear in running:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = os.read(hear, 1 << 20)
        print("ended", code, 0 < said.count(b"b") == said.count(b"u"))
    print("user", os.stat(os.environ["HAYPILE_DIR"]).st_uid == os.geteuid() != 0)


main()

"""``python -m bench.bound``: what bare POSIX queues do with as many processes, in Python and without haypile.

Owns: two programs over ``posix_ipc`` alone, each process waiting as a haypile session does (``epoll``, ``poll``,
``sched_yield``): a fan-out, one producer to QUEUES queues of ten messages and a consumer each; and a crowd, as many
producers and consumers on one queue. Prints deliveries a second and processor time for each.
Must not know: haypile, AMQP.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import time
from collections.abc import Callable
from typing import Any

import posix_ipc

#: Bytes of a message: a body of 100 bytes with haypile's header.
BODY = b"x" * 165
#: How often a sender lets others run before it sleeps.
YIELDS = 16


def send(queue: Any, body: bytes) -> None:
    """Send into a queue that may be full for now."""
    room = select.poll()
    room.register(queue.mqd, select.POLLOUT)
    while True:
        for _ in range(YIELDS):
            try:
                queue.send(body)
                return
            except posix_ipc.BusyError:
                os.sched_yield()
        room.poll()


def open_queue(name: str) -> Any:
    """A handle that does not block."""
    queue = posix_ipc.MessageQueue(name)
    queue.block = False
    return queue


def produce(names: list[str], count: int) -> None:
    """``count`` messages to each of ``names``; those that are full come last."""
    queues = [open_queue(name) for name in names]
    for _ in range(count):
        rest = []
        for queue in queues:
            try:
                queue.send(BODY)
            except posix_ipc.BusyError:
                rest.append(queue)
        for queue in rest:
            send(queue, BODY)


def consume(name: str) -> None:
    """Take messages until an empty one comes."""
    queue = open_queue(name)
    epoll = select.epoll()
    epoll.register(queue.mqd, select.EPOLLIN)
    while True:
        os.sched_yield()
        epoll.poll()
        try:
            while True:
                if not queue.receive()[0]:
                    return
        except posix_ipc.BusyError:
            pass


def start(work: Callable[..., None], *arguments: Any) -> int:
    """Run ``work`` in a process of its own."""
    pid = os.fork()
    if not pid:
        work(*arguments)
        os._exit(0)
    return pid


def measure(title: str, queues: int, producers: int, consumers: int, count: int) -> None:
    """``count`` messages of each producer to each queue; ``consumers`` for each queue."""
    made = [
        posix_ipc.MessageQueue(
            f"/bench-bound-{os.getpid()}-{number}", posix_ipc.O_CREX, max_messages=10, max_message_size=512
        )
        for number in range(queues)
    ]
    names = [queue.name for queue in made]
    try:
        takers = [start(consume, name) for name in names for _ in range(consumers)]
        begin = time.monotonic()
        for pid in [start(produce, names, count) for _ in range(producers)]:
            os.waitpid(pid, 0)
        for name in names:
            for _ in range(consumers):
                send(open_queue(name), b"")
        for pid in takers:
            os.waitpid(pid, 0)
        took = time.monotonic() - begin
    finally:
        for queue in made:
            queue.close()
            queue.unlink()
    delivered = queues * producers * count
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - counted[0]
    counted[0] += cpu
    print(f"{title:<12} {delivered / took:>10,.0f} deliveries/s {cpu / delivered * 1e6:>8.1f} us CPU")


#: Processor time of children that were waited for before.
counted = [0.0]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.bound", description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=200_000, help="deliveries of each round (default: %(default)s)")
    options = parser.parse_args()
    for _ in range(options.rounds):
        measure("fan-out-10", 10, 1, 1, options.messages // 10)
        measure("crowd-8x8", 1, 8, 8, options.messages // 8)


if __name__ == "__main__":
    main()

"""Two programs that know nothing of haypile, and one of haypile's between them.

A posix_ipc producer sends raw messages of 5 KB, a posix_ipc consumer waits with ``selectors``; the haypile
program consumes from the one's queue and publishes to the other's. Everyday it is a few thousand messages;
the full run: HAYPILE_FOREIGN_MESSAGES=500000 pytest --timeout 1800 tests/foreign/test_traffic.py
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import posix_ipc
import pytest

MESSAGES = int(os.environ.get("HAYPILE_FOREIGN_MESSAGES", "3000"))
DEPTH = 4

PRODUCER = """
import sys
import posix_ipc
queue = posix_ipc.MessageQueue(sys.argv[1])
for number in range(int(sys.argv[2])):
    queue.send(b"%08d" % number + bytes(4992))
"""

#: Checks each message, and prints how many there were.
CONSUMER = """
import selectors, sys
import posix_ipc
queue = posix_ipc.MessageQueue(sys.argv[1])
queue.block = False
selector = selectors.DefaultSelector()
selector.register(queue.mqd, selectors.EVENT_READ)
count = 0
while count < int(sys.argv[2]):
    selector.select()
    try:
        while True:
            body, _ = queue.receive()
            assert len(body) == 5000 and int(body[:8]) == count, (len(body), body[:8], count)
            count += 1
    except posix_ipc.BusyError:
        pass
print(count)
"""

BETWEEN = """
import sys
import haypile as pika
url, inward, outward, count, auto = sys.argv[1:]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.queue_declare("in", arguments={"x-kernel-queue": "posix:" + inward})
channel.queue_declare("out", arguments={"x-kernel-queue": "posix:" + outward})
channel.basic_qos(prefetch_count=50)
left = int(count)
def pass_on(channel, method, properties, body):
    global left
    channel.basic_publish("", "out", body)
    if auto == "manual":
        channel.basic_ack(method.delivery_tag)
    left -= 1
    if not left:
        channel.stop_consuming()
channel.basic_consume("in", pass_on, auto_ack=auto == "auto")
channel.start_consuming()
channel.connection.close()
"""


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Two kernel queues of somebody else's."""
    made = []
    for _ in range(2):
        name = f"/stranger-{secrets.token_hex(6)}"
        made.append(posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_messages=DEPTH, max_message_size=8192))
    yield [queue.name for queue in made]
    for queue in made:
        queue.unlink()
        queue.close()


@pytest.mark.parametrize("acknowledging", ["auto", "manual"])
def test_strangers_at_both_ends(url: str, names: list[str], acknowledging: str) -> None:
    inward, outward = names
    count = str(MESSAGES)
    programs: list[subprocess.Popen[Any]] = [
        subprocess.Popen([sys.executable, "-c", CONSUMER, outward, count], stdout=subprocess.PIPE, text=True),
        subprocess.Popen([sys.executable, "-c", BETWEEN, url, inward, outward, count, acknowledging]),
        subprocess.Popen([sys.executable, "-c", PRODUCER, inward, count]),
    ]
    try:
        seen = programs[0].communicate(timeout=60 + MESSAGES / 500)[0]
        assert seen == f"{count}\n"
        assert [program.wait(30) for program in programs] == [0, 0, 0]
    finally:
        for program in programs:
            program.kill()
            program.wait()

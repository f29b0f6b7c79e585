"""Hosts without one kind of kernel queues: the other kind works, and the missing one is said to be missing.

macOS has System V queues and no POSIX ones: posix_ipc may be absent there, or be there without MessageQueue.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = "import sys; sys.modules[{module!r}] = None\n"
#: posix_ipc as it is built where the system has no message queues.
WITHOUT_QUEUES = """
import posix_ipc, sys
posix_ipc.MESSAGE_QUEUES_SUPPORTED = False
for name in ("MessageQueue", "unlink_message_queue", "QUEUE_MESSAGES_MAX_DEFAULT"):
    if hasattr(posix_ipc, name):
        delattr(posix_ipc, name)
"""
#: glibc's mq_receive is missing, too.
WITHOUT_MQ_RECEIVE = """
import ctypes
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name.startswith("mq_"):
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
"""
WAYS_TO_LACK_POSIX = {
    "absent": ABSENT.format(module="posix_ipc"),
    "without-queues": WITHOUT_QUEUES,
    "without-queues-in-libc": WITHOUT_QUEUES + WITHOUT_MQ_RECEIVE,
}

WORK = """
import haypile as pika
def work(url):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        got = []
        channel.basic_consume("q", lambda *args: got.append(args[3]), auto_ack=True)
        channel.basic_publish("", "q", b"through", mandatory=True)
        while not got:
            connection.process_data_events(1)
        return got
"""


def run(program: str) -> str:
    """What the program prints."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("lacking", WAYS_TO_LACK_POSIX.values(), ids=WAYS_TO_LACK_POSIX)
def test_without_posix_queues(state_directory: Path, lacking: str) -> None:
    program = lacking + WORK
    assert run(program + "print(work('sysv:///v'))") == "[b'through']\n"
    said = run(program + "try: work('posix:///v')\nexcept Exception as error: print(type(error).__name__, error)")
    assert "posix:/// needs message queues that are not to be had here" in said and "use sysv:///" in said
    assert "Traceback" not in said


def test_without_sysv_queues(state_directory: Path) -> None:
    program = ABSENT.format(module="sysv_ipc") + WORK
    assert run(program + "print(work('posix:///v'))") == "[b'through']\n"
    said = run(program + "try: work('sysv:///v')\nexcept Exception as error: print(type(error).__name__, error)")
    assert "sysv:/// needs message queues that are not to be had here" in said and "use posix:///" in said


@pytest.mark.parametrize("lacking", WAYS_TO_LACK_POSIX.values(), ids=WAYS_TO_LACK_POSIX)
def test_queues_without_posix_queues(state_directory: Path, lacking: str) -> None:
    program = lacking + "from haypile import queues\n"
    assert run(program + "q = queues.Queue(url='sysv:///v'); q.put(1); print(q.get(timeout=5))") == "1\n"
    said = run(program + "try: queues.Queue()\nexcept Exception as error: print(error)")
    assert "use sysv:///" in said
    said = run(program + "try: queues.posixmq.Queue('/some')\nexcept Exception as error: print(repr(error))")
    assert "QueueError" in said and "not to be had here" in said


def test_foreign_posix_queues_without_posix_queues(state_directory: Path) -> None:
    program = (
        WAYS_TO_LACK_POSIX["without-queues"]
        + "import haypile as pika\n"
        + "channel = pika.BlockingConnection(pika.URLParameters('sysv:///v')).channel()\n"
        + "try: channel.queue_declare('raw', arguments={'x-kernel-queue': 'posix:/some'})\n"
        + "except pika.exceptions.ChannelClosedByBroker as error: print(error.reply_code, error.reply_text)\n"
    )
    said = run(program)
    assert said and "not to be had here" in said

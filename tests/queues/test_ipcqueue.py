"""A program written for ipcqueue works with the import changed, and talks to one with the old import."""

from __future__ import annotations

import importlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haypile.queues import UnsafePickle, posixmq, sysvmq

THEIRS_POSIX: Any = pytest.importorskip("ipcqueue.posixmq", reason="ipcqueue is not installed")
THEIRS_SYSV: Any = importlib.import_module("ipcqueue.sysvmq")
ITEMS = ["text", 1.5, {"a": [None, True]}, ("tuple", b"\x00\xff")]


@pytest.fixture
def name() -> Iterator[str]:
    """Of a POSIX queue that is gone after the test."""
    made = f"/stranger-{secrets.token_hex(6)}"
    yield made
    try:
        posixmq.unlink(made)
    except posixmq.QueueError as error:
        assert error.errno == error.DOES_NOT_EXIST


@pytest.fixture
def key() -> Iterator[int]:
    """Of a System V queue that is gone after the test."""
    made = secrets.randbelow(2**31 - 1) + 1
    yield made
    sysvmq.Queue(made).close()


def outcome(call: Callable[[], Any]) -> Any:
    """What a call does: its result, or the exception's name and, of ipcqueue's own, its number and text."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__, getattr(error, "errno", None), getattr(error, "msg", None)


@pytest.mark.parametrize("here, there", [(posixmq, THEIRS_POSIX), (THEIRS_POSIX, posixmq)], ids=["to", "from"])
def test_posix_both_ways(name: str, here: Any, there: Any) -> None:
    putter, getter = here.Queue(name, 5, 512), there.Queue(name, 5, 512)
    for item in ITEMS:
        putter.put(item)
    assert getter.qsize() == len(ITEMS)
    assert [getter.get(timeout=5) for _ in ITEMS] == ITEMS
    putter.put("low", priority=1)
    putter.put("high", priority=9)
    assert [getter.get_nowait(), getter.get_nowait()] == ["high", "low"]
    assert putter.qattr() == getter.qattr() == {"size": 0, "max_size": 5, "max_msgbytes": 512}
    putter.close()
    getter.close()


@pytest.mark.parametrize("here, there", [(sysvmq, THEIRS_SYSV), (THEIRS_SYSV, sysvmq)], ids=["to", "from"])
def test_sysv_both_ways(key: int, here: Any, there: Any) -> None:
    putter, getter = here.Queue(key), there.Queue(key)
    for item in ITEMS:
        putter.put(item)
    assert [getter.get() for _ in ITEMS] == ITEMS
    for number in (3, 2, 5):
        putter.put(number, msg_type=number)
    assert getter.get(msg_type=5) == 5
    assert getter.get(msg_type=-4) == 2, "the lowest type up to 4"
    assert getter.get_nowait() == 3
    assert putter.qattr() == getter.qattr()


def posix_program(module: Any, name: str) -> list[Any]:
    """What happens when a queue is used well and badly."""
    made = module.Queue(name, 2, 64)
    made.put("one", timeout=1)
    made.put_nowait("two")
    seen = [
        outcome(lambda: made.put_nowait("three")),
        outcome(lambda: made.put("three", timeout=0.01)),
        outcome(lambda: made.put("x" * 100, block=False)),
        made.qsize(),
        made.get(),
        made.get(block=False),
        outcome(made.get_nowait),
        outcome(lambda: made.get(timeout=0.01)),
        outcome(lambda: made.put("x", priority=-1)),
        outcome(lambda: module.Queue("no slash")),
        outcome(lambda: module.Queue("/" + "long" * 100)),
        outcome(lambda: module.unlink("/nobody-made-this-one")),
    ]
    made.close()
    seen += [outcome(made.qsize), outcome(lambda: made.put(1)), outcome(made.get), outcome(made.close)]
    made.unlink()
    return [*seen, outcome(made.unlink)]


def test_posix_programs_see_the_same() -> None:
    names = [f"/stranger-{secrets.token_hex(6)}" for _ in range(2)]
    assert posix_program(posixmq, names[0]) == posix_program(THEIRS_POSIX, names[1])


def sysv_program(module: Any, key: int) -> list[Any]:
    """The same for System V queues."""
    made = module.Queue(key, 200)
    made.put("x" * 150)
    seen = [
        outcome(lambda: made.put_nowait("y" * 150)),
        outcome(lambda: made.put("z" * 10_000, block=False)),
        made.qattr(),
        made.get(),
        outcome(made.get_nowait),
        outcome(lambda: made.get_nowait(msg_type=3)),
        outcome(lambda: made.put("x", msg_type=0)),
        outcome(lambda: made.put("x", msg_type=-1)),
        made.qsize(),
    ]
    made.close()
    return [*seen, outcome(made.qsize), outcome(lambda: made.put(1)), outcome(made.get), outcome(made.close)]


def removed_while_waiting(module: Any, key: int) -> Any:
    """What a getter gets whose queue goes."""
    made, again = module.Queue(key), module.Queue(key)
    thread = threading.Timer(0.2, again.close)
    thread.start()
    found = outcome(made.get)
    thread.join()
    return found


def test_sysv_queues_removed_while_waiting() -> None:
    keys = [secrets.randbelow(2**31 - 1) + 1 for _ in range(2)]
    assert removed_while_waiting(sysvmq, keys[0]) == removed_while_waiting(THEIRS_SYSV, keys[1])


def test_sysv_programs_see_the_same() -> None:
    keys = [secrets.randbelow(2**31 - 1) + 1 for _ in range(2)]
    assert sysv_program(sysvmq, keys[0]) == sysv_program(THEIRS_SYSV, keys[1])


def test_constants_are_the_same() -> None:
    for ours, theirs in ((posixmq, THEIRS_POSIX), (sysvmq, THEIRS_SYSV)):
        names = [name for name in vars(theirs.QueueError) if name.isupper()]
        assert names, "there are constants"
        for name in names:
            assert getattr(ours.QueueError, name) == getattr(theirs.QueueError, name), name


def test_waiting_across_the_two(name: str) -> None:
    getter, putter = posixmq.Queue(name), THEIRS_POSIX.Queue(name)
    thread = threading.Timer(0.1, putter.put, ["late"])
    thread.start()
    assert getter.get(timeout=10) == "late"
    thread.join()
    started = time.monotonic()
    with pytest.raises(queue.Empty):
        getter.get(timeout=0.1)
    assert time.monotonic() - started > 0.09
    putter.close()
    getter.close()


def test_pickles_that_others_can_write_are_refused(name: str) -> None:
    import posix_ipc

    umask = os.umask(0)
    try:
        posix_ipc.MessageQueue(name, posix_ipc.O_CREX, mode=0o622, max_messages=2, max_message_size=512).close()
    finally:
        os.umask(umask)
    with pytest.raises(posixmq.QueueError, match="unpickling what they write would run their code") as caught:
        posixmq.Queue(name)
    assert caught.value.errno == posixmq.QueueError.NO_PERMISSIONS
    with pytest.warns(UnsafePickle):
        posixmq.Queue(name, serializer=posixmq.PickleSerializer).close()
    raw = posixmq.Queue(name, serializer=posixmq.RawSerializer)
    raw.put(b"bytes")
    assert raw.get() == b"bytes"
    raw.close()

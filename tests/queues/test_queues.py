"""multiprocessing's queues on kernel queues: the interface, other processes, kills."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from haypile import queues
from tests.queues.conftest import Make

FORK: BaseContext = multiprocessing.get_context("fork")
SPAWN: BaseContext = multiprocessing.get_context("spawn")


# -- one process --------------------------------------------------------------------------------------------


def test_in_and_out(make: Make) -> None:
    made = make()
    items = [1, "two", b"three", None, {"four": [4.0]}, b"x" * 100_000]
    for item in items:
        made.put(item)
    assert made.qsize() == len(items) and not made.empty() and not made.full()
    assert [made.get() for _ in items] == items
    assert made.empty() and made.qsize() == 0
    with pytest.raises(queue.Empty):
        made.get_nowait()
    started = time.monotonic()
    with pytest.raises(queue.Empty):
        made.get(timeout=0.1)
    assert 0.09 < time.monotonic() - started < 10


def test_maxsize_is_exact(make: Make) -> None:
    made = make(queues.Queue, 3)
    for item in range(3):
        made.put(item)
    assert made.full() and made.qsize() == 3
    with pytest.raises(queue.Full):
        made.put_nowait(3)
    with pytest.raises(queue.Full):
        made.put(3, timeout=0.05)
    assert made.get() == 0 and not made.full()
    made.put(3)
    thread = threading.Timer(0.1, made.get)
    thread.start()
    made.put(4, timeout=10)
    thread.join()
    assert [made.get() for _ in range(3)] == [2, 3, 4]


def test_sizes_while_items_are_everywhere(make: Make) -> None:
    """In the lane, in the store, in the hands of a getter: they are counted once."""
    made = make()
    with pytest.raises(queue.Empty):
        made.get_nowait()
    for item in range(200):
        made.put(item)
        assert made.qsize() == item + 1
    for item in range(200):
        assert made.get() == item
        assert made.qsize() == 199 - item
    assert made.empty()


def test_closed(make: Make) -> None:
    made = make()
    made.put(1)
    made.close()
    made.close()
    made.join_thread()
    made.cancel_join_thread()
    with pytest.raises(ValueError, match="is closed"):
        made.put(2)
    with pytest.raises(ValueError, match="is closed"):
        made.get()


def test_by_name(make: Make, url: str) -> None:
    first = make(queues.Queue, 5, name="jobs")
    second = queues.Queue(name="jobs", url=url)
    first.put("there")
    assert second.get() == "there" and second.name == "jobs"
    with pytest.raises(ValueError, match="is there already"):
        queues.Queue(6, name="jobs", url=url)
    with pytest.raises(ValueError, match="no JoinableQueue"):
        queues.JoinableQueue(name=make(queues.Queue, name="plain").name, url=url)
    second.close()


def test_selectors(make: Make) -> None:
    made = make()
    with selectors.DefaultSelector() as selector:
        selector.register(made.fileno(), selectors.EVENT_READ)

        def ready(seconds: float) -> bool:
            """As a loop would: a look in vain is no harm."""
            deadline = time.monotonic() + seconds
            while selector.select(max(deadline - time.monotonic(), 0)):
                try:
                    got.append(made.get_nowait())
                    return True
                except queue.Empty:
                    continue
            return False

        got: list[Any] = []
        assert not ready(0.05)
        for count in (1, 3, 100):
            for item in range(count):
                made.put(item)
            got.clear()
            while len(got) < count:
                assert ready(5)
            assert got == list(range(count))
            assert not ready(0.05)


# -- serialisers --------------------------------------------------------------------------------------------


def test_serialisers(make: Make) -> None:
    plain = make(queues.Queue, serializer="bytes")
    plain.put(b"\x00\x01")
    assert plain.get() == b"\x00\x01"
    with pytest.raises(TypeError, match="carries bytes"):
        plain.put("text")
    json = make(queues.Queue, serializer="json")
    json.put({"a": [1, None]})
    assert json.get() == {"a": [1, None]}
    packed = make(queues.Queue, serializer="msgpack")
    packed.put({"a": [1, b"raw", None, 2.5]})
    assert packed.get(timeout=5) == {"a": [1, b"raw", None, 2.5]}
    with pytest.raises(TypeError):
        packed.put(object())
    with pytest.raises(ValueError, match="unknown serializer"):
        make(queues.Queue, serializer="yaml")


def test_unpickling_what_others_write_is_refused() -> None:
    with pytest.raises(queues.PicklingRefused, match="choose serializer"):
        queues.Queue(url="amqp://guest:guest@192.0.2.1:5672/")


# -- other processes ----------------------------------------------------------------------------------------


def double(inward: Any, outward: Any) -> None:
    """Until None comes."""
    while (item := inward.get()) is not None:
        outward.put(2 * item)


@pytest.mark.parametrize("context", [FORK, SPAWN])
def test_passed_to_a_process(make: Make, context: Any) -> None:
    there, back = make(), make()
    process = context.Process(target=double, args=(there, back))
    process.start()
    for item in (*range(300), None):
        there.put(item)
    assert [back.get(timeout=30) for _ in range(300)] == [2 * item for item in range(300)]
    process.join(10)
    assert process.exitcode == 0


def square(made: Any, item: int) -> None:
    """In a pool's worker."""
    made.put(item * item)


def test_passed_to_a_pools_workers(make: Make) -> None:
    made = make()
    with FORK.Pool(2) as pool:
        pool.starmap(square, [(made, item) for item in range(20)])
        pool.close()
        pool.join()
    assert sorted(made.get(timeout=10) for _ in range(20)) == [item * item for item in range(20)]


def test_an_unrelated_process(make: Make, url: str) -> None:
    made = make(queues.Queue, name="shared")
    program = f'from haypile.queues import Queue; Queue(name="shared", url={url!r}).put(["from", "elsewhere"])'
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert made.get(timeout=10) == ["from", "elsewhere"]


def test_many_putters_and_getters(make: Make) -> None:
    made, done = make(), make()

    def put(start: int) -> None:
        for item in range(start, start + 200):
            made.put(item)

    def get() -> None:
        got = []
        while (item := made.get()) is not None:
            got.append(item)
        done.put(got)

    putters = [FORK.Process(target=put, args=(1000 * number,)) for number in range(3)]  # type: ignore[attr-defined]
    getters = [FORK.Process(target=get) for _ in range(2)]  # type: ignore[attr-defined]
    for process in (*putters, *getters):
        process.start()
    for process in putters:
        process.join(30)
    for _ in getters:
        made.put(None)
    lists = [done.get(timeout=30) for _ in getters]
    for process in getters:
        process.join(30)
    everything = sorted(item for got in lists for item in got)
    assert everything == [1000 * number + item for number in range(3) for item in range(200)]
    for got in lists:
        for number in range(3):
            mine = [item for item in got if item // 1000 == number]
            assert mine == sorted(mine)


def test_what_multiprocessing_needs(make: Make) -> None:
    made = make()
    again = pickle.loads(pickle.dumps(made))
    again.put(1)
    assert made.get(timeout=5) == 1 and again.name == made.name
    again.close()


# -- kills --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_getters_and_putters(make: Make) -> None:
    """Whoever is killed holds no lock, and takes away no more than the item it had got."""
    made = make()
    sent = memoryview(mmap.mmap(-1, 8)).cast("q")
    got = mmap.mmap(-1, 4_000_000)

    def put() -> None:
        while sent[0] < len(got):
            made.put(sent[0])
            sent[0] += 1

    def get() -> None:
        while True:
            got[made.get()] = 1

    for _ in range(10):
        pair = [FORK.Process(target=put), FORK.Process(target=get)]  # type: ignore[attr-defined]
        for process in pair:
            process.start()
        time.sleep(0.15)
        for process in pair:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    time.sleep(0.1)
    assert made.qsize() >= 0
    while True:
        try:
            got[made.get(timeout=1.5)] = 1
        except queue.Empty:
            break
    missing = [item for item in range(sent[0]) if not got[item]]
    assert len(missing) <= 10, f"one each at most: {missing[:20]}"
    assert made.qsize() == 0


def test_a_backlog_of_a_killed_putter(make: Make) -> None:
    """What nobody waits for is put into the store many at a time; but it is there at once, and for good."""
    made = make()

    def put() -> None:
        for item in range(100):
            made.put(item)
        assert made.qsize() == 100
        for item in range(100, 150):
            made.put(item)
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=put)  # type: ignore[attr-defined]
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert made.qsize() == 150
    assert [made.get(timeout=10) for _ in range(150)] == list(range(150))


def test_join_waits_for_all_and_survives_a_kill(make: Make) -> None:
    made = make(queues.JoinableQueue)

    def work() -> None:
        while True:
            made.get()
            time.sleep(0.005)
            made.task_done()

    with pytest.raises(ValueError, match="too many times"):
        made.task_done()
    for item in range(40):
        made.put(item)
    assert not made.join(timeout=0.05) and not made.full()
    workers = [FORK.Process(target=work, daemon=True) for _ in range(2)]  # type: ignore[attr-defined]
    for process in workers:
        process.start()
    time.sleep(0.05)
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    assert made.join(timeout=30)
    assert made.qsize() == 0
    os.kill(workers[1].pid, signal.SIGKILL)
    workers[1].join()


# -- pipes --------------------------------------------------------------------------------------------------


def test_a_pipe(url: str) -> None:
    first, second = queues.Pipe(url=url)
    first.send({"a": 1})
    second.send_bytes(b"raw")
    assert second.poll(5) and second.recv() == {"a": 1} and not second.poll()
    assert first.recv_bytes() == b"raw"
    with pytest.raises(OSError, match="longer"):
        first.send_bytes(b"12345")
        second.recv_bytes(2)
    first.send("last")
    first.close()
    assert second.recv() == "last"
    with pytest.raises(EOFError):
        second.recv()
    with pytest.raises(BrokenPipeError):
        second.send("nobody")
    second.close()
    with pytest.raises(OSError, match="closed"):
        second.send(1)


def test_a_pipe_one_way(url: str) -> None:
    reading, writing = queues.Pipe(False, url=url)
    with reading, writing:
        writing.send(1)
        assert reading.recv() == 1 and reading.readable and not reading.writable
        with pytest.raises(OSError, match="read-only"):
            reading.send(1)
        with pytest.raises(OSError, match="write-only"):
            writing.recv()


def echo(connection: Any) -> None:
    """Until the other end is gone."""
    with connection:
        while True:
            try:
                connection.send(connection.recv())
            except EOFError:
                return


@pytest.mark.parametrize("context", [SPAWN])
def test_a_pipe_to_a_process(url: str, context: Any) -> None:
    mine, its = queues.Pipe(url=url)
    process = context.Process(target=echo, args=(its,))
    process.start()
    its.close()
    for item in range(20):
        mine.send(item)
        assert mine.recv() == item
    mine.close()
    process.join(10)
    assert process.exitcode == 0


def echo_from(others: Any, connection: Any) -> None:
    """As with multiprocessing.Pipe: a forked child has both ends, and closes the one it does not use."""
    others.close()
    echo(connection)


def test_a_pipe_to_a_forked_process(url: str) -> None:
    mine, its = queues.Pipe(url=url)
    process = FORK.Process(target=echo_from, args=(mine, its), daemon=True)  # type: ignore[attr-defined]
    process.start()
    its.close()
    for item in range(20):
        mine.send(item)
        assert mine.poll(10) and mine.recv() == item
    mine.close()
    process.join(10)
    assert process.exitcode == 0

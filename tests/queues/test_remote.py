"""The same queue object over a RabbitMQ: between machines."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from haypile import queues
from tests.support.vhosts import Vhost


@pytest.fixture
def remote(make_vhost: Callable[[str], Vhost]) -> Iterator[Callable[..., Any]]:
    """Makes queues on a RabbitMQ, closed after the test (the vhost goes with them)."""
    url = make_vhost("amqp").url
    made = []

    def one(*arguments: Any, **options: Any) -> Any:
        made.append(queues.Queue(*arguments, url=url, **{"serializer": "json", **options}))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.mark.rabbitmq
def test_over_a_rabbitmq(remote: Callable[..., Any]) -> None:
    made = remote(name="jobs")
    for item in (1, "two", {"three": [3]}):
        made.put(item)
    assert made.qsize() == 3 and not made.empty()
    other = remote(name="jobs")
    assert [other.get(timeout=10) for _ in range(3)] == [1, "two", {"three": [3]}]
    with pytest.raises(queue.Empty):
        made.get_nowait()
    with pytest.raises(queue.Empty):
        made.get(timeout=0.05)


@pytest.mark.rabbitmq
def test_maxsize_over_a_rabbitmq(remote: Callable[..., Any]) -> None:
    made = remote(2)
    made.put(1)
    made.put(2)
    with pytest.raises(queue.Full):
        made.put_nowait(3)
    assert made.full() and made.get() == 1
    made.put(3, timeout=10)
    assert [made.get(), made.get()] == [2, 3]


def answer(made: Any, back: Any) -> None:
    """In another process."""
    back.put(made.get(timeout=30) + 1)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_passed_to_a_process_over_a_rabbitmq(remote: Callable[..., Any], method: str) -> None:
    made, back = remote(), remote()
    made.put(41)
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=answer, args=(made, back))
    process.start()
    assert back.get(timeout=30) == 42
    process.join(10)
    assert process.exitcode == 0
    assert pickle.loads(pickle.dumps(made)).name == made.name


@pytest.mark.rabbitmq
def test_pickle_over_a_rabbitmq_is_a_choice(remote: Callable[..., Any]) -> None:
    with pytest.raises(queues.PicklingRefused):
        remote(serializer=None)
    with pytest.warns(queues.UnsafePickle):
        made = remote(serializer="pickle")
    made.put((1, 2))
    assert made.get(timeout=10) == (1, 2)


@pytest.mark.rabbitmq
def test_a_waiting_getter_keeps_nobody_from_putting(remote: Callable[..., Any]) -> None:
    """Threads of one object; the getter has the item at once, and nothing else is taken from the queue."""
    made = remote(name="jobs")
    got: list[Any] = []
    getter = threading.Thread(target=lambda: got.append(made.get(timeout=30)))
    getter.start()
    time.sleep(0.3)
    for item in range(5):
        made.put(item)
    getter.join(10)
    assert got == [0]
    assert [made.get(timeout=5) for _ in range(4)] == [1, 2, 3, 4] and made.qsize() == 0


@pytest.mark.rabbitmq
def test_a_lost_connection_is_made_anew(remote: Callable[..., Any]) -> None:
    """As after an hour without a call, when the broker has given the connection up."""
    made = remote(name="jobs")
    made.put(1)
    assert made.get() == 1
    for item in range(3):
        for line in (made._putting, made._getting):
            _cut(line)
        made.put(item)
        assert made.get(timeout=5) == item
    assert made.qsize() == 0


def _cut(line: Any) -> None:
    """Shut the socket down under pika, as a network does."""
    transport = line._channel.connection._impl._transport
    transport._sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.rabbitmq
def test_a_deleted_queue(remote: Callable[..., Any]) -> None:
    """Whoever waits is told."""
    made, other = remote(name="jobs"), remote(name="jobs")
    threading.Timer(0.3, other.unlink).start()
    with pytest.raises(ValueError, match="'jobs' was deleted"):
        made.get(timeout=30)


@pytest.mark.rabbitmq
def test_a_closed_object(remote: Callable[..., Any]) -> None:
    made = remote(name="jobs")
    made.close()
    made.close()
    for call in (made.get_nowait, made.qsize, lambda: made.put(1)):
        with pytest.raises(ValueError, match="closed"):
            call()

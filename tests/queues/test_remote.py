"""The same queue object over a RabbitMQ: between machines."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
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

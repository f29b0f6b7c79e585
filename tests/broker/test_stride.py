"""Beside other consumers: a fair part of what waits, and more where that is worked through before they are awake."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingConnection

from haypile.broker.source import FAIR, Source
from haypile.broker.stride import IN_VAIN, MOST, SOON, STREAM, Stride


class Clock:
    """Stands still until it is put forward."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def turn(stride: Stride, clock: Clock, count: int, seconds: float) -> int:
    """A turn that brought ``count`` messages and took ``seconds``, callbacks and sleep included: what was allowed."""
    stride.begin()
    allowed = stride.quick
    if count:
        stride.took(count)
    clock.now += seconds
    return allowed


def test_none_at_first_and_after_a_rest(clock: Clock) -> None:
    stride = Stride(clock)
    assert turn(stride, clock, 1, SOON / 10) == 0
    assert turn(stride, clock, 1, 10.0) == 10
    assert turn(stride, clock, 1, 10.0) == 0


def test_as_many_as_the_last_turn_would_have_had_time_for(clock: Clock) -> None:
    stride = Stride(clock)
    turn(stride, clock, 4, SOON)
    assert turn(stride, clock, 3, SOON / 4) == 4
    assert turn(stride, clock, 1, 2 * SOON) == 12
    assert turn(stride, clock, 1, 0.0) == 0


def test_never_more_than_a_batch(clock: Clock) -> None:
    stride = Stride(clock)
    turn(stride, clock, 10, 0.0)
    assert turn(stride, clock, 10, 1e-9) == MOST
    assert turn(stride, clock, 10, 0.0) == MOST


def test_turns_that_bring_nothing_are_time_that_passed(clock: Clock) -> None:
    stride = Stride(clock)
    turn(stride, clock, 8, SOON)
    assert [turn(stride, clock, 0, SOON) for _ in range(4)] == [8, 4, 2, 2]
    assert turn(stride, clock, 0, 10 * SOON) == 1
    assert turn(stride, clock, 0, SOON) == 0


def test_several_takes_of_one_turn_count_together(clock: Clock) -> None:
    stride = Stride(clock)
    stride.begin()
    stride.took(2)
    stride.took(3)
    clock.now += SOON
    stride.begin()
    assert stride.quick == 5


def looks(stride: Stride, turns: int, *, more: bool) -> list[bool]:
    """For so many turns of a stream: whether it looked for more, which there was or not."""
    made = []
    for _ in range(turns):
        stride.took(STREAM)
        made.append(stride.looks_again(STREAM))
        if made[-1]:
            stride.took(STREAM) if more else stride.found_nothing()
    return made


def test_of_a_few_messages_there_are_no_more(clock: Clock) -> None:
    assert not Stride(clock).looks_again(STREAM - 1)


def test_a_stream_that_goes_on_is_looked_for_each_time(clock: Clock) -> None:
    assert all(looks(Stride(clock), 100, more=True))


def test_looks_in_vain_are_left_out_twice_as_often_each_time(clock: Clock) -> None:
    stride = Stride(clock)
    assert [at for at, made in enumerate(looks(stride, 64, more=False)) if made] == [0, 2, 5, 10, 19, 36]
    made = looks(stride, 10 * (IN_VAIN + 1), more=False)
    assert made.count(True) == 10
    assert all(looks(stride, 2 * IN_VAIN, more=True)[IN_VAIN:])


def test_nothing_that_was_not_looked_for_is_in_vain(clock: Clock) -> None:
    stride = Stride(clock)
    for _ in range(10):
        stride.found_nothing()
    assert stride.looks_again(STREAM)


@pytest.fixture
def beside(connect: Callable[[], BlockingConnection]) -> Callable[..., Source]:
    """The source of the first of two sessions that consume from queue q; ten messages wait in its lane."""

    def one(no_ack: bool, other_priority: int = 0) -> Source:
        publisher = connect().channel()
        publisher.queue_declare("q")
        for priority in (0, other_priority):
            channel = connect().channel()
            channel.basic_qos(prefetch_count=8)
            channel.basic_consume("q", lambda *_: None, auto_ack=no_ack, arguments={"x-priority": priority})
        for _ in range(10):
            publisher.basic_publish("", "q", b"x")
        found = [thing for thing in gc.get_objects() if isinstance(thing, Source) and thing.queue.name == "q"]
        live = [source for source in found if not source.session.closed]
        assert len(live) == 2
        first, _ = sorted(live, key=lambda source: source.session.id)
        assert first.depth() == 10
        return first

    return one


@pytest.mark.parametrize(("quick", "expected"), [(0, 5), (3, 5), (7, 8), (MOST, 10)])
def test_without_acknowledgements(quick: int, expected: int, beside: Callable[..., Source]) -> None:
    source = beside(True)
    source.stride.quick = quick
    assert len(source.take(FAIR, True)) == expected


def test_what_is_sent_meanwhile_is_for_the_next_one(
    beside: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = beside(True)
    source.stride.quick = MOST
    lane: Any = source.handle.current_lane()
    receive_some = type(lane).receive_some

    def refilled(self: Any, most: int) -> list[bytes]:
        got: list[bytes] = receive_some(self, most)
        assert all(self.send(record) for record in got)
        return got

    monkeypatch.setattr(type(lane), "receive_some", refilled)
    assert len(source.take(FAIR, True)) == 10
    assert source.depth() == 9


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Source, int], list[int]]:
    """How many messages each take of a turn brings at such a pace."""

    def one(source: Source, quick: int) -> list[int]:
        taken: list[int] = []
        take = Source.take

        def counting(self: Source, budget: int, no_ack: bool) -> Any:
            got = take(self, budget, no_ack)
            taken.append(len(got))
            return got

        monkeypatch.setattr(Source, "take", counting)
        monkeypatch.setattr(Stride, "begin", lambda stride, _: setattr(stride, "quick", quick))
        source.stir()
        source.pump()
        return taken

    return one


@pytest.mark.parametrize(("quick", "first", "all_of_it"), [(0, 1, 8), (3, 4, 8), (MOST, 8, 8)])
def test_with_acknowledgements_as_far_as_the_prefetch_count_goes(
    quick: int,
    first: int,
    all_of_it: int,
    beside: Callable[..., Source],
    takes: Callable[[Source, int], list[int]],
) -> None:
    source = beside(False)
    taken = takes(source, quick)
    assert taken[0] == first
    assert sum(taken) == all_of_it
    assert source.blocked


@pytest.mark.parametrize(("no_ack", "first"), [(True, 5), (False, 1)])
def test_not_beside_a_consumer_of_another_priority(
    no_ack: bool, first: int, beside: Callable[..., Source], takes: Callable[[Source, int], list[int]]
) -> None:
    """After each message one of a higher priority may have credit again."""
    assert takes(beside(no_ack, other_priority=-1), MOST)[0] == first


def test_on_a_loop_with_other_work_what_was_delivered_may_still_wait(beside: Callable[..., Source]) -> None:
    """That it was taken quickly says nothing until the loop has come to its end."""
    source = beside(True)
    source.session.sliced = True
    source.pump(most=1, done=True)
    for _ in range(2):
        source.stir()
        source.pump(most=1)
    assert source.stride.quick == 0
    source.pump(done=True)
    assert source.stride.quick > 0


def test_a_loop_says_so_before_it_sleeps(beside: Callable[..., Source], monkeypatch: pytest.MonkeyPatch) -> None:
    source = beside(True)
    source.session.sliced = True
    said: list[bool] = []
    monkeypatch.setattr(Stride, "begin", lambda _, done: said.append(done))
    source.stir()
    source.on_ready()
    source.stir()
    source.session.before_sleep()
    assert said == [False, True]


def test_time_passes_while_messages_wait(clock: Clock) -> None:
    stride = Stride(clock)
    turn(stride, clock, 8, SOON)
    stride.begin()
    assert stride.quick == 8
    stride.took(5)
    clock.now += 3 * SOON
    stride.begin(False)
    assert stride.quick == 2
    stride.took(5)
    stride.begin()
    assert stride.quick == 3

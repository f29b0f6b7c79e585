"""What comes before a sleep, in injected time."""

from __future__ import annotations

import pytest

from haypile.wires.hover import (
    CROWDED,
    FEW,
    MOST,
    PATIENT,
    PERIOD,
    SCEPTICAL,
    SHORT,
    SLICE,
    STREAM,
    Crowd,
    Hover,
    waited,
)

TICK, LINGER = 1e-6, 1e-4


class Machine:
    """A clock, what a yield takes, when the next message comes, and how often there was what."""

    def __init__(self, look: float = LINGER) -> None:
        self.now = 0.0
        self.yielding = 0.0
        #: Seconds from the beginning of a wait to a message; from a sleep it takes ``waking`` more to hear of it.
        self.gap, self.waking = 60.0, 0.0
        self.messages = self.yields = self.sleeps = self.looks = 0
        self.due = 0.0
        self.alone = True
        self.waited = 0.0
        self.hover = Hover(look, lambda: self.now, self.let_others_run, lambda: self.waited)

    def let_others_run(self) -> None:
        self.yields += 1
        self.now += self.yielding + TICK

    def turn(self, block: bool) -> bool:
        if block:
            self.sleeps += 1
            self.now = max(self.due, self.now) + self.waking
            return True
        self.looks += 1
        self.now += TICK
        return self.now >= self.due

    def wait(self, times: int) -> tuple[int, int, int]:
        """How many yields, looks and sleeps so many waits took."""
        before = self.yields, self.looks, self.sleeps
        for _ in range(times):
            self.due = self.now + self.gap
            self.hover.wait(self.turn, lambda: self.alone)
            self.hover.came(self.messages)
        return self.yields - before[0], self.looks - before[1], self.sleeps - before[2]


def test_where_nobody_else_wants_the_processor() -> None:
    """However long it sleeps then, and for nothing."""
    machine = Machine()
    machine.yielding = SLICE / 10
    assert machine.wait(1000) == (1000, 0, 1000)


def test_while_something_comes_of_it() -> None:
    """Others took their time, and there are several messages for it."""
    machine = Machine()
    machine.yielding, machine.messages = SLICE * 3, FEW
    assert machine.wait(1000) == (1000, 0, 1000)


def test_seldom_where_others_take_their_time_slice() -> None:
    machine = Machine()
    machine.yielding, machine.messages = SLICE * 3, FEW - 1
    assert machine.wait(100)[0] < 10
    assert machine.wait(100 * (MOST + 1))[0] <= 110


def test_often_again_when_it_pays_again() -> None:
    machine = Machine()
    machine.yielding = SLICE * 3
    machine.wait(100 * MOST)
    machine.yielding = 0.0
    machine.wait(MOST + 1)
    assert machine.wait(1000)[0] == 1000
    machine.yielding = SLICE * 3
    assert machine.wait(100)[0] < 10


def test_a_look_instead_of_a_sleep_where_messages_follow_closely() -> None:
    machine = Machine()
    machine.gap, machine.waking = LINGER / 4, SHORT / 2
    assert machine.wait(PATIENT) == (PATIENT, 0, PATIENT)
    began = machine.now
    yields, looks, sleeps = machine.wait(1000)
    assert not sleeps
    assert looks + yields <= 1000 * LINGER / 4 / TICK + 2000
    assert machine.now - began < 1000 * LINGER / 3


def test_no_look_where_messages_are_far_apart() -> None:
    machine = Machine()
    machine.gap = SHORT * 1.1
    assert machine.wait(10_000) == (10_000, 0, 10_000)


def test_seldom_a_look_where_each_is_in_vain() -> None:
    """Messages too close for a long sleep, too far apart for a look."""
    machine = Machine()
    machine.gap = (LINGER + SHORT) / 2
    machine.wait(SCEPTICAL * 4)
    yields, looks, sleeps = machine.wait(SCEPTICAL * 10)
    assert sleeps == SCEPTICAL * 10
    assert looks <= 10 * LINGER / TICK
    assert yields <= sleeps + looks


def test_a_look_lasts_no_longer_than_it_may() -> None:
    machine = Machine()
    machine.gap = LINGER / 4
    machine.wait(PATIENT)
    machine.gap = 60.0
    yields, looks, sleeps = machine.wait(1)
    assert (sleeps, yields >= 1) == (1, True)
    assert looks <= LINGER / TICK
    assert machine.wait(1000) == (1000, 0, 1000)


def test_a_pause_now_and_then_does_not_end_it() -> None:
    """Eight requests in a row, and time to think: after the first looks in vain most of them are looked for."""
    machine = Machine()
    looked = 0
    for _ in range(100):
        machine.gap = LINGER / 4
        looked += 32 - machine.wait(32)[2]
        machine.gap = 1.0
        machine.wait(1)
    assert looked > 100 * 20


def test_no_look_after_a_yield_that_took_long() -> None:
    """The processor is wanted by others: it is given back after one look."""
    machine = Machine()
    machine.gap = LINGER / 4
    machine.wait(PATIENT)
    machine.gap, machine.yielding, machine.messages = 1.0, SLICE * 3, FEW
    assert machine.wait(1)[1] == 1


def test_no_look_for_what_others_look_for() -> None:
    machine = Machine()
    machine.gap, machine.alone = LINGER / 4, False
    assert machine.wait(1000) == (1000, 0, 1000)
    machine.alone = True
    assert machine.wait(1000)[2] <= PATIENT


def test_no_look_at_all() -> None:
    machine = Machine(0.0)
    machine.gap = LINGER / 4
    assert machine.wait(1000) == (1000, 0, 1000)


def test_no_look_where_processors_are_scarce() -> None:
    machine = Machine()
    machine.gap = LINGER / 4
    machine.wait(PATIENT)
    assert machine.wait(1000)[2] == 0
    slept = looked = 0
    for _ in range(2000):
        machine.waited += machine.gap * CROWDED * 2
        sleeps = machine.wait(1)[2]
        slept, looked = slept + sleeps, looked + 1 - sleeps
    assert looked <= 2 * PERIOD / machine.gap, "until it was seen"
    assert machine.wait(2000)[2] <= 2 * PERIOD / machine.gap, "until it was seen to be over"
    assert machine.wait(1000)[2] == 0


def test_a_crowd_is_seen_by_what_was_waited_for() -> None:
    past = [1000.0]
    crowd = Crowd(lambda: past[0])
    assert not crowd.around(5.0), "nothing is known yet"
    past[0] += PERIOD * CROWDED * 0.9
    assert not crowd.around(5.0 + PERIOD)
    past[0] += PERIOD * CROWDED * 1.1
    assert not crowd.around(5.0 + PERIOD * 1.5), "it is not asked for all the time"
    assert crowd.around(5.0 + PERIOD * 2)
    assert crowd.around(5.0 + PERIOD * 2.5)
    assert not crowd.around(5.0 + PERIOD * 3)


def test_what_the_kernel_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = waited()
    assert before >= 0.0
    assert waited() >= before

    def refuse(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("haypile.wires.hover.os.open", refuse)
    assert waited() == 0.0


def test_a_stream_is_slept_for() -> None:
    """Who looks takes it one by one; who sleeps has several when it wakes."""
    machine = Machine()
    machine.gap = LINGER / 4
    machine.wait(PATIENT)
    assert machine.wait(100)[2] == 0
    machine.gap, machine.messages = STREAM / 2, 1
    machine.wait(PATIENT)
    machine.gap, machine.messages = SHORT / 4, 10
    assert machine.wait(1000) == (1000, 0, 1000)


def test_a_message_that_is_there_already_now_and_then_is_no_stream() -> None:
    machine = Machine()
    machine.messages = 1
    slept = 0
    for _ in range(200):
        for gap in (LINGER / 4, STREAM / 2, STREAM / 2, LINGER / 8):
            machine.gap = gap
            slept += machine.wait(1)[2]
    assert slept == PATIENT

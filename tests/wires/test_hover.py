"""When a wait begins with a yield, in injected time."""

from __future__ import annotations

from haypile.wires.hover import MOST, SLEEP, SLICE, Hover


class Machine:
    """A clock, what a yield and a sleep take, and how often each was."""

    def __init__(self) -> None:
        self.now = 0.0
        self.yielding = self.sleeping = 0.0
        self.yields = self.sleeps = 0
        self.hover = Hover(lambda: self.now, self.let_others_run)

    def let_others_run(self) -> None:
        self.yields += 1
        self.now += self.yielding

    def sleep(self) -> None:
        self.sleeps += 1
        self.now += self.sleeping

    def wait(self, times: int) -> int:
        """How many of so many waits began with a yield."""
        before = self.yields, self.sleeps
        for _ in range(times):
            self.hover.wait(self.sleep)
        assert self.sleeps == before[1] + times
        return self.yields - before[0]


def test_while_something_comes_of_it() -> None:
    machine = Machine()
    machine.yielding, machine.sleeping = SLICE / 10, SLEEP / 10
    assert machine.wait(1000) == 1000


def test_seldom_while_nothing_comes_of_it() -> None:
    machine = Machine()
    machine.sleeping = SLEEP * 10
    assert machine.wait(100) < 10
    assert machine.wait(100 * (MOST + 1)) <= 110


def test_seldom_where_others_take_their_time_slice() -> None:
    machine = Machine()
    machine.yielding = SLICE * 3
    assert machine.wait(100) < 10
    assert machine.wait(100 * (MOST + 1)) <= 110


def test_often_again_when_it_pays_again() -> None:
    machine = Machine()
    machine.yielding = SLICE * 3
    machine.wait(100 * MOST)
    machine.yielding = 0.0
    machine.wait(MOST + 1)
    assert machine.wait(1000) == 1000
    machine.yielding = SLICE * 3
    assert machine.wait(100) < 10

"""When a wait begins with a yield, in injected time."""

from __future__ import annotations

from haypile.wires.hover import FEW, MOST, SLICE, Hover


class Machine:
    """A clock, what a yield takes, what comes after it, and how often there was one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.yielding = 0.0
        self.messages = self.yields = self.sleeps = 0
        self.hover = Hover(lambda: self.now, self.let_others_run)

    def let_others_run(self) -> None:
        self.yields += 1
        self.now += self.yielding

    def sleep(self) -> int:
        self.sleeps += 1
        self.now += 60.0
        return self.messages

    def wait(self, times: int) -> int:
        """How many of so many waits began with a yield."""
        before = self.yields, self.sleeps
        for _ in range(times):
            self.hover.wait(self.sleep)
        assert self.sleeps == before[1] + times
        return self.yields - before[0]


def test_where_nobody_else_wants_the_processor() -> None:
    """However long it sleeps then, and for nothing."""
    machine = Machine()
    machine.yielding = SLICE / 10
    assert machine.wait(1000) == 1000


def test_while_something_comes_of_it() -> None:
    """Others took their time, and there are several messages for it."""
    machine = Machine()
    machine.yielding, machine.messages = SLICE * 3, FEW
    assert machine.wait(1000) == 1000


def test_seldom_where_others_take_their_time_slice() -> None:
    machine = Machine()
    machine.yielding, machine.messages = SLICE * 3, FEW - 1
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

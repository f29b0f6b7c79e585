"""A wire that keeps its loop awake for a moment, between a fake loop and a fake session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haypile.broker.ports import Outbox, VhostTarget
from haypile.wires.hover import PATIENT, SHORT, Crowd
from haypile.wires.looking import GLANCE, LookingWire

TICK, LINGER = 1e-6, 1e-4
FD = 5


class Loop:
    """What the wire uses of pika's connection: an event loop in injected time."""

    def __init__(self) -> None:
        self.now = 1.0
        self.soon: deque[Callable[[], None]] = deque()
        self.received: list[int] = []
        self.turns = 0

    def monotonic(self) -> float:
        self.now += TICK
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def receive_content(self, number: int, method: Any, properties: Any, body: bytes) -> None:
        self.received.append(method)

    def turn(self) -> bool:
        """What is there is called; False: the loop would sleep."""
        self.turns += 1
        for _ in range(len(self.soon)):
            self.soon.popleft()()
        return bool(self.soon)

    def until_it_sleeps(self) -> float:
        """Seconds that it was awake."""
        began = self.now
        while self.turn():
            assert self.turns < 10_000
        return self.now - began


class Session:
    """A source of numbers."""

    pressure: Any = None

    def __init__(self, outbox: Outbox, loop: Loop) -> None:
        self.outbox = outbox
        self.loop = loop
        self.dozing: set[str] = set()
        self.looks = self.dozed = 0
        self.lone = True
        #: When each arrives.
        self.coming: deque[float] = deque()

    def take(self) -> None:
        batch: list[Any] = []
        while self.coming and self.coming[0] <= self.loop.now:
            batch.append((len(self.coming), None, b""))
            self.coming.popleft()
        if batch:
            self.outbox.contents(1, batch)
        self.dozing.add("q")

    def peek(self) -> None:
        self.looks += 1
        self.take()

    def alone(self) -> bool:
        return self.lone

    def doze(self) -> None:
        self.dozed += 1
        self.dozing.clear()

    def on_ready(self, fd: int) -> None:
        assert fd == FD
        self.take()

    def before_sleep(self) -> None:
        self.take()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    one = Loop()
    monkeypatch.setattr("haypile.wires.looking.time.monotonic", one.monotonic)
    return one


@pytest.fixture
def wire(loop: Loop) -> Iterator[LookingWire]:
    target = VhostTarget(Path(), "/", look=100)
    connection: Any = loop
    one = LookingWire(connection, target, lambda fd, callback: None, lambda fd: None, patience=0.0)
    session: Any = Session(one, loop)
    one.session = session
    one._crowd = Crowd(lambda: 0.0)
    yield one
    one.session = None


def woken(wire: Any, loop: Loop, after: float) -> float:
    """A message wakes the loop ``after`` it fell asleep; seconds until it sleeps again."""
    loop.now += after
    wire.session.coming.append(loop.now)
    received = len(loop.received)
    wire.on_ready(FD)
    assert len(loop.received) == received + 1
    return loop.until_it_sleeps()


def make_brisk(wire: Any, loop: Loop) -> None:
    for _ in range(PATIENT + 1):
        woken(wire, loop, SHORT / 2)
    loop.until_it_sleeps()


def test_it_says_that_it_sleeps_where_messages_are_far_apart(wire: Any, loop: Loop) -> None:
    for _ in range(20):
        assert woken(wire, loop, SHORT * 2) < GLANCE
    assert wire.session.looks == 0
    assert wire.session.dozed == 20
    assert not wire.session.dozing


def test_it_looks_where_they_follow_closely(wire: Any, loop: Loop) -> None:
    make_brisk(wire, loop)
    # The look is over: nobody came.
    assert wire.session.looks > 0
    assert not wire.session.dozing
    looks, dozed = wire.session.looks, wire.session.dozed
    for _ in range(2 * PATIENT + 1):
        woken(wire, loop, SHORT / 2)
    assert wire.session.looks > looks and wire.session.dozed > dozed


def test_what_it_finds_goes_up_at_once(wire: Any, loop: Loop) -> None:
    for _ in range(PATIENT):
        woken(wire, loop, SHORT / 2)
    loop.now += SHORT / 2
    session = wire.session
    session.coming.append(loop.now)
    dozed = session.dozed
    session.coming.extend(loop.now + LINGER / 2 * (number + 1) for number in range(50))
    wire.on_ready(FD)
    awake = loop.until_it_sleeps()
    assert len(loop.received) == PATIENT + 51
    assert LINGER * 25 < awake < LINGER * 28
    assert session.dozed == dozed + 1
    assert not session.dozing


def test_the_loop_turns_between_looks(wire: Any, loop: Loop) -> None:
    """Other work of the loop waits for a glance at most."""
    for _ in range(PATIENT):
        woken(wire, loop, SHORT / 2)
    gaps: list[float] = []
    last = loop.now = loop.now + SHORT / 2
    wire.session.coming.append(loop.now)
    wire.on_ready(FD)
    while loop.turn():
        gaps.append(loop.now - last)
        last = loop.now
    assert len(gaps) >= LINGER / GLANCE - 2
    assert max(gaps) < GLANCE * 1.5


def test_a_session_that_has_ended_is_not_looked_at(wire: Any, loop: Loop) -> None:
    for _ in range(PATIENT):
        woken(wire, loop, SHORT / 2)
    loop.now += SHORT / 2
    wire.session.coming.append(loop.now)
    wire.on_ready(FD)
    assert loop.soon
    wire.session = None
    loop.until_it_sleeps()
    assert not loop.soon


def test_a_queue_found_empty_outside_a_turn_has_one(wire: Any, loop: Loop) -> None:
    """An ack, say, that lets a consumer have what is not there."""
    wire.session.dozing.add("q")
    wire.dozes()
    loop.until_it_sleeps()
    assert not wire.session.dozing


def test_what_others_look_for_is_not_looked_for(wire: Any, loop: Loop) -> None:
    wire.session.lone = False
    make_brisk(wire, loop)
    assert wire.session.looks == 0
    assert not wire.session.dozing


def test_who_waits_for_a_processor_does_not_look(wire: Any, loop: Loop) -> None:
    wire._crowd = Crowd(lambda: loop.now)
    make_brisk(wire, loop)
    for _ in range(200):
        woken(wire, loop, SHORT / 2)
    looks = wire.session.looks
    assert looks > 0, "before it was known"
    for _ in range(200):
        woken(wire, loop, SHORT / 2)
    assert wire.session.looks == looks


def test_a_stream_is_slept_for(wire: Any, loop: Loop) -> None:
    """It comes in larger parts then."""
    for _ in range(PATIENT):
        woken(wire, loop, SHORT / 2)
    session = wire.session
    loop.now += SHORT / 2
    session.coming.extend(loop.now + TICK * number for number in range(PATIENT * 2))
    wire.on_ready(FD)
    loop.until_it_sleeps()
    looks = session.looks
    for _ in range(100):
        loop.now += SHORT / 2
        session.coming.extend([loop.now] * 3)
        wire.on_ready(FD)
        loop.until_it_sleeps()
    assert session.looks == looks
    assert not session.dozing

"""Explores every interleaving of going to sleep and waking where lanes have no descriptor (``broker/belled.py``).

    python -m tests.model.sleepers [PUBLISHERS] [CONSUMERS]

Publishers send messages into a lane, look at the queue's sleepers word, and ring every consumer when its value is
not the one they rang for last. Consumers take; when the lane is empty they write a fresh value into the word, look
once more, and sleep until rung. Any one process may be killed between two steps. Reported: states in which nobody
can go on, a message is left, and a live consumer sleeps.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

#: Messages of each publisher.
MESSAGES = 2


class Publisher(NamedTuple):
    """Where a publisher is."""

    step: str = "send"
    sent: int = 0
    #: The value of the word for which it rang last, and the one it is ringing for.
    rung: int = 0
    seen: int = 0
    #: Consumers it has still to ring.
    left: tuple[int, ...] = ()


class Consumer(NamedTuple):
    """Where a consumer is."""

    step: str = "take"
    bell: bool = False


@dataclass(frozen=True)
class State:
    """The lane's depth, the sleepers word, and where everybody is."""

    lane: int = 0
    word: int = 0
    #: Values ever written: each is new.
    naps: int = 0
    publishers: tuple[Publisher, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    kills: int = 0


Step = tuple[str, State]


def put(all_of_them: tuple[NamedTuple, ...], i: int, one: NamedTuple) -> tuple[NamedTuple, ...]:
    """``all_of_them`` with the one numbered ``i`` changed."""
    return (*all_of_them[:i], one, *all_of_them[i + 1 :])


def publisher_steps(state: State, clears: bool) -> Iterator[Step]:
    """What a publisher may do next. ``clears``: it wipes the word before it rings (a protocol that was not taken)."""
    for i, me in enumerate(state.publishers):

        def to(one: Publisher, i: int = i, **changes: object) -> State:
            return replace(state, publishers=put(state.publishers, i, one), **changes)  # type: ignore[arg-type]

        if me.step == "send" and me.sent < MESSAGES:
            yield f"p{i} sends", to(me._replace(step="look", sent=me.sent + 1), lane=state.lane + 1)
        elif me.step == "look":
            if state.word == (0 if clears else me.rung):
                yield f"p{i} nobody fell asleep", to(me._replace(step="send"))
            else:
                left = tuple(range(len(state.consumers)))
                word = 0 if clears else state.word
                yield f"p{i} sees {state.word}", to(me._replace(step="ring", seen=state.word, left=left), word=word)
        elif me.step == "ring":
            if not me.left:
                yield f"p{i} has rung", to(me._replace(step="send", rung=me.seen))
            else:
                rung = state.consumers[me.left[0]]._replace(bell=True)
                yield (
                    f"p{i} rings c{me.left[0]}",
                    to(me._replace(left=me.left[1:]), consumers=put(state.consumers, me.left[0], rung)),
                )
        if me.step != "dead" and me.sent < MESSAGES and state.kills < 1:
            yield f"p{i} KILLED {me.step}", to(me._replace(step="dead"), kills=1)


def consumer_steps(state: State, look_again: bool) -> Iterator[Step]:
    """What a consumer may do next."""
    for i, me in enumerate(state.consumers):

        def to(one: Consumer, i: int = i, **changes: object) -> State:
            return replace(state, consumers=put(state.consumers, i, one), **changes)  # type: ignore[arg-type]

        if me.step == "take":
            if state.lane:
                yield f"c{i} takes", to(me, lane=state.lane - 1)
            else:
                yield f"c{i} finds nothing", to(me._replace(step="say"))
        elif me.step == "say":
            naps = state.naps + 1
            yield (
                f"c{i} says it sleeps",
                to(me._replace(step="look again" if look_again else "sleep"), word=naps, naps=naps),
            )
        elif me.step == "look again":
            yield f"c{i} looks again", to(me._replace(step="take" if state.lane else "sleep"))
        elif me.step == "sleep" and me.bell:
            # The bell is silenced before the lane is looked at.
            yield f"c{i} wakes", to(me._replace(step="take", bell=False))
        if me.step != "dead" and state.kills < 1 and len(state.consumers) > 1:
            yield f"c{i} KILLED {me.step}", to(me._replace(step="dead"), kills=1)


class Report(NamedTuple):
    """What an exploration found."""

    states: int
    #: Ways to a message that nobody takes.
    stalled: list[list[str]]


def explore(publishers: int, consumers: int, *, look_again: bool = True, clears: bool = False) -> Report:
    """Visit every state that can be reached."""
    start = State(publishers=(Publisher(),) * publishers, consumers=(Consumer(),) * consumers)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    stalled = []
    while todo:
        state = todo.popleft()
        following = [*publisher_steps(state, clears), *consumer_steps(state, look_again)]
        living = [step for step in following if "KILLED" not in step[0]]
        if not living and state.lane and any(one.step == "sleep" for one in state.consumers):
            way, at = [], state
            while (step := came_from[at]) is not None:
                at, label = step
                way.append(label)
            stalled.append(way[::-1])
        for label, after in following:
            if after.naps <= 2 * MESSAGES * publishers + consumers and after not in came_from:
                came_from[after] = (state, label)
                todo.append(after)
    return Report(len(came_from), stalled)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]] or [1, 2]
    result = explore(*numbers)
    print(f"{result.states} states, {len(result.stalled)} stalled")
    for found in result.stalled[:3]:
        print("  " + " | ".join(found))

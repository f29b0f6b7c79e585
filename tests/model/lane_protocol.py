"""Explores every interleaving of the lane and hay protocol (docs/architecture.md).

    python -m tests.model.lane_protocol [LANE_CAPACITY] [MAX_KILLS] [MAX_LEAVES] [notick]

Publishers send numbered messages to one queue; consumers take one message at a time with manual acks, may
leave and join again (the last one to leave retires the lane, the first to come makes one), and may be killed
between any two steps. What a killed one had landed or held goes back into the hay, as ``broker/recovery`` does
it. Reported: messages lost, delivered twice without a kill or a leave, queues that stall with a live consumer
asleep, and messages of one publisher seen out of order by a lone consumer.

Step names are the code's: ``QueueHandle.offer``, ``Publisher.store``, ``Session.rescue``, ``Source.land``,
``Source.serve_hay``, ``consuming.start``, ``consuming.settle_lane``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

TOKEN = 0
#: What each publisher sends; numbers grow with publish time.
PUBLISHERS = ((1, 2, 3), (11,))
#: Never offered to a lane: say, it expires.
NOT_FOR_THE_LANE = frozenset({2})
ALL = sorted(message for messages in PUBLISHERS for message in messages)


class Publisher(NamedTuple):
    """Where a publisher is."""

    step: str = "look at gate"
    sent: int = 0
    #: Generation of the lane it looked at.
    generation: int = 0


class Consumer(NamedTuple):
    """Where a consumer is."""

    step: str = "absent"
    #: The message in its landing slot, or in its taken list: held until acked.
    held: int = 0
    leaves: int = 0


@dataclass(frozen=True)
class State:
    """Everything the processes share, and where each of them is."""

    #: Every lane there ever was, by the generation it came with; a retired one is still held open by publishers.
    lanes: tuple[tuple[int, tuple[int, ...]], ...] = ()
    #: Generation word, and the generation whose lane is the queue's (0: it has none).
    generation: int = 0
    lane: int = 0
    hay: frozenset[int] = frozenset()
    closed: bool = True
    #: Consumer that holds the write lock in the middle of retiring the lane; -1: nobody.
    lock: int = -1
    publishers: tuple[Publisher, ...] = tuple(Publisher() for _ in PUBLISHERS)
    consumers: tuple[Consumer, ...] = ()
    kills: int = 0
    acked: tuple[int, ...] = ()

    def content(self, lane: int) -> tuple[int, ...]:
        """What is in a lane."""
        return dict(self.lanes).get(lane, ())

    def put(self, lane: int, content: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """The lanes with that one changed."""
        return tuple(sorted({**dict(self.lanes), lane: content}.items()))


class Limits(NamedTuple):
    """How much is explored."""

    capacity: int = 1
    kills: int = 1
    leaves: int = 1
    #: Sleepers look at the gate once a second.
    tick: bool = True
    #: Publishers look at the generation again after each send.
    look_again: bool = True


Step = tuple[str, State]


def messages(content: tuple[int, ...]) -> frozenset[int]:
    """The messages in a lane, without tokens."""
    return frozenset(one for one in content if one != TOKEN)


def publisher_steps(state: State, limits: Limits) -> Iterator[Step]:
    """What a publisher may do next."""
    for i, me in enumerate(state.publishers):
        if me.sent == len(PUBLISHERS[i]):
            continue
        message = PUBLISHERS[i][me.sent]

        def to(step: str, done: int = 0, /, me: Publisher = me, **changes: object) -> State:
            mine = changes.pop("generation_seen", me.generation)
            moved = Publisher(step, me.sent + done, mine if step != "look at gate" else 0)  # type: ignore[arg-type]
            publishers = (*state.publishers[:i], moved, *state.publishers[i + 1 :])  # noqa: B023
            return replace(state, publishers=publishers, **changes)  # type: ignore[arg-type]

        if me.step == "look at gate":
            if state.closed or message in NOT_FOR_THE_LANE:
                yield f"p{i} gate closed", to("store")
            else:
                yield f"p{i} gate open", to("look at generation")
        elif me.step == "look at generation":
            # Opens the lane if it has moved: the row says which, under no lock. Odd: it is on its way out.
            if state.lane and state.generation % 2 == 0:
                yield f"p{i} opens lane", to("offer", generation_seen=state.generation * 100 + state.lane)
            else:
                yield f"p{i} no lane", to("store")
        elif me.step == "offer":
            lane = me.generation % 100
            content = state.content(lane)
            if len(content) < limits.capacity:
                yield f"p{i} sends {message}", to("look again", lanes=state.put(lane, (*content, message)))
            else:
                yield f"p{i} lane full", to("store")
        elif me.step == "look again":
            if state.generation == me.generation // 100 or not limits.look_again:
                yield f"p{i} lane stands", to("look at gate", 1)
            else:
                yield f"p{i} lane retired", to("rescue")
        elif me.step == "rescue" and state.lock < 0:
            lane = me.generation % 100
            found = messages(state.content(lane))
            yield (
                f"p{i} rescues {sorted(found)}",
                to("wake", lanes=state.put(lane, ()), hay=state.hay | found, closed=True),
            )
        elif me.step == "store" and state.lock < 0:
            yield f"p{i} stores {message}", to("wake", hay=state.hay | {message}, closed=True)
        elif me.step == "wake":
            content = state.content(state.lane)
            lanes = state.put(state.lane, content or (TOKEN,)) if state.lane else state.lanes
            yield f"p{i} wakes", to("look at gate", 1, lanes=lanes)


def consumer_steps(state: State, limits: Limits) -> Iterator[Step]:
    """What a consumer may do next."""
    for i, me in enumerate(state.consumers):
        if me.step == "dead":
            continue
        free = state.lock in (-1, i)
        content = state.content(state.lane)

        def to(step: str, held: int = me.held, leaves: int = me.leaves, /, **changes: object) -> State:
            moved = Consumer(step, held, leaves)
            consumers = (*state.consumers[:i], moved, *state.consumers[i + 1 :])  # noqa: B023
            return replace(state, consumers=consumers, **changes)  # type: ignore[arg-type]

        if me.step == "absent" and free:
            generation = (state.generation | 1) + 1
            if state.lane:
                yield f"c{i} joins", to("look at gate", generation=state.generation + state.generation % 2)
            else:
                yield (
                    f"c{i} joins, makes lane",
                    to(
                        "look at gate",
                        lanes=state.put(generation, ()),
                        generation=generation,
                        lane=generation,
                        closed=bool(state.hay),
                    ),
                )
        elif me.step == "look at gate":
            yield (
                f"c{i} gate {'closed' if state.closed else 'open'}",
                to("serve hay" if state.closed else "take"),
            )
            if me.leaves < limits.leaves and free:
                present = [one for one in state.consumers if one.step not in ("absent", "dead")]
                if len(present) > 1:
                    yield f"c{i} leaves", to("absent", 0, me.leaves + 1)
                else:
                    yield (
                        f"c{i} retires lane",
                        to("drain", lock=i, closed=True, generation=state.generation | 1),
                    )
        elif me.step == "drain":
            yield (
                f"c{i} drains and leaves",
                to(
                    "absent",
                    0,
                    me.leaves + 1,
                    lock=-1,
                    generation=state.generation + 1,
                    hay=state.hay | messages(content),
                    lanes=state.put(state.lane, ()),
                    lane=0,
                ),
            )
        elif me.step == "take":
            if not content:
                yield f"c{i} lane empty", to("asleep")
            elif content[0] == TOKEN:
                yield f"c{i} takes token", to("serve hay", lanes=state.put(state.lane, content[1:]))
            else:
                yield (
                    f"c{i} lands {content[0]}",
                    to("ack", content[0], lanes=state.put(state.lane, content[1:])),
                )
        elif me.step == "serve hay" and free:
            pool = state.hay | messages(content)
            rest = pool - {min(pool)} if pool else pool
            served = to(
                "leave token" if rest else ("ack" if pool else "asleep"),
                min(pool) if pool else 0,
                lanes=state.put(state.lane, ()),
                hay=rest,
                closed=bool(rest),
            )
            yield f"c{i} serves {min(pool) if pool else 'nothing'}", served
        elif me.step == "leave token":
            yield f"c{i} leaves token", to("ack", lanes=state.put(state.lane, content or (TOKEN,)))
        elif me.step == "ack":
            yield f"c{i} acks {me.held}", to("look at gate", 0, acked=(*state.acked, me.held))
        elif me.step == "asleep" and (content or (limits.tick and state.closed)):
            yield f"c{i} wakes", to("look at gate")

        if state.kills < limits.kills and me.step not in ("absent", "asleep") and state.lock in (-1, i):
            yield f"c{i} KILLED", killed(state, i)


def killed(state: State, i: int) -> State:
    """A consumer dies and another session recovers it: one transaction, and the lane goes if nobody is left."""
    back = frozenset({state.consumers[i].held} if state.consumers[i].held else ())
    consumers = (*state.consumers[:i], Consumer("dead"), *state.consumers[i + 1 :])
    left = any(one.step not in ("absent", "dead") for one in consumers)
    content = state.content(state.lane)
    hay = state.hay | back
    lanes, lane, generation, closed = state.lanes, state.lane, state.generation, state.closed or bool(back)
    if not left and lane:
        hay, lanes, lane, closed = hay | messages(content), state.put(lane, ()), 0, True
        generation = (generation | 1) + 1
    elif back and lane and not content:
        lanes = state.put(lane, (TOKEN,))
    return replace(
        state,
        lanes=lanes,
        lane=lane,
        generation=generation,
        hay=hay,
        closed=closed,
        lock=-1,
        consumers=consumers,
        kills=state.kills + 1,
    )


class Report(NamedTuple):
    """What an exploration found."""

    states: int
    lost: list[list[str]]
    stalled: list[list[str]]
    reordered: list[list[str]]
    doubled: list[list[str]]

    @property
    def clean(self) -> bool:
        """Nothing wrong was found."""
        return not (self.lost or self.stalled or self.reordered or self.doubled)


def explore(consumers: int, limits: Limits = Limits()) -> Report:  # noqa: B008
    """Visit every state that can be reached."""
    start = State(consumers=tuple(Consumer() for _ in range(consumers)))
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    report = Report(0, [], [], [], [])

    def trace(state: State) -> list[str]:
        labels = []
        while (step := came_from[state]) is not None:
            state, label = step
            labels.append(label)
        return labels[::-1]

    while todo:
        state = todo.popleft()
        following = [*publisher_steps(state, limits), *consumer_steps(state, limits)]
        left = state.hay.union(*(messages(content) for _, content in state.lanes))
        if not following:
            if set(state.acked) | left != set(ALL):
                report.lost.append(trace(state))
            elif left and any(one.step not in ("absent", "dead") for one in state.consumers):
                report.stalled.append(trace(state))
        if not state.kills and len(set(state.acked)) != len(state.acked):
            report.doubled.append(trace(state))
        if consumers == 1 and not state.kills:
            for sent in PUBLISHERS:
                seen = [message for message in state.acked if message in sent]
                if seen != sorted(seen):
                    report.reordered.append(trace(state))
        for label, after in following:
            if after not in came_from:
                came_from[after] = (state, label)
                todo.append(after)
    return report._replace(states=len(came_from))


def main() -> int:
    """Explore as the command line says."""
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    capacity, kills, leaves = [*numbers, *[1, 1, 1][len(numbers) :]]
    limits = Limits(capacity, kills, leaves, "notick" not in sys.argv)
    failed = False
    for consumers in (1, 2):
        report = explore(consumers, limits)
        failed |= not report.clean
        print(
            f"lane {limits.capacity}, {consumers} consumer(s), <= {limits.kills} kills, <= {limits.leaves} leaves: "
            f"{report.states} states, {len(report.lost)} lost, {len(report.stalled)} stalled, "
            f"{len(report.reordered)} reordered, {len(report.doubled)} doubled"
        )
        for found in (report.lost + report.stalled + report.reordered + report.doubled)[:1]:
            print("  " + " | ".join(found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Explores every interleaving of publishing with a queue that is deleted and declared again under the same name.

    python -m tests.model.deletion [PUBLISHERS] [MESSAGES] [MAX_KILLS]

The new queue gets the slot of the old one in the gate page, so what a publisher reads there may be of either. Whoever
deletes and declares may be killed between any two steps; another one goes on. Whoever is killed between a commit and
the gate page leaves UNSETTLED, and the next to take the write lock mends the version. Reported: messages that were
routed to a queue which is still there, and are nowhere; routes that are too old; lanes that nobody will remove.

Step names are the code's: ``Publisher.route``, ``QueueHandle.offer``, ``Publisher.store``, ``Session.rescue``,
``declare.queue.delete_queue``, ``Gates.allocate``, ``lanekeeping.make_lane``, ``Announced.sweep``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

#: What is done to the queue, in order; each begins by taking the write lock.
WORK = ("delete", "declare", "make lane")


class Publisher(NamedTuple):
    """Where a publisher is."""

    step: str = "route"
    sent: int = 0
    #: The version its routes are of, and the queue they name.
    version: int = 1
    queue: int = 1
    #: Of its handle of that queue: the generation, and the queue whose lane it has open (0: none).
    generation: int = 2
    lane: int = 1


@dataclass(frozen=True)
class State:
    """Queues 1 (at first) and 2, one slot of the gate page, and where everybody is."""

    #: What is committed: version, the queue, whether it has a lane.
    version: int = 1
    queue: int = 1
    has_lane: bool = True
    #: The gate page: version, UNSETTLED, and the slot.
    told: int = 1
    unsettled: bool = False
    closed: bool = False
    generation: int = 2
    #: Lanes that exist, by queue; lanes that were removed are still held open.
    lanes: frozenset[int] = frozenset({1})
    #: (queue, message): in a lane of that queue, in the hay.
    in_lane: frozenset[tuple[int, int]] = frozenset()
    hay: frozenset[tuple[int, int]] = frozenset()
    #: What each message was routed to.
    routed: frozenset[tuple[int, int]] = frozenset()
    publishers: tuple[Publisher, ...] = ()
    #: What is being done: index in WORK, step within it ("": not begun, without the lock).
    work: int = 0
    step: str = ""
    kills: int = 0

    @property
    def locked(self) -> bool:
        """Whether the write lock is held."""
        return self.step not in ("", "unlink lane")


Step = tuple[str, State]


def publisher_steps(state: State, messages: int, looks: bool) -> Iterator[Step]:
    """What a publisher may do next. ``looks``: at the version, before each publish."""
    for i, me in enumerate(state.publishers):
        if me.sent == messages:
            continue
        message = 10 * i + me.sent

        def to(me: Publisher, i: int = i, **changes: object) -> State:
            return replace(
                state,
                publishers=(*state.publishers[:i], me, *state.publishers[i + 1 :]),
                **changes,  # type: ignore[arg-type]
            )

        done = me._replace(step="route", sent=me.sent + 1)
        if me.step == "route":
            queue = me.queue if state.told == me.version or not looks else state.queue
            mine = me._replace(step="look at gate", version=state.told, queue=queue)
            if queue != me.queue:
                mine = mine._replace(generation=-1, lane=0)
            routed = state.routed | {(queue, message)}
            yield f"p{i} routes {message} to {queue}", to(mine if queue else done, routed=routed)
        elif me.step == "look at gate":
            yield f"p{i} gate {'closed' if state.closed else 'open'}", to(
                me._replace(step="store" if state.closed else "look at generation")
            )
        elif me.step == "look at generation":
            if me.generation == state.generation:
                step = "offer" if me.lane and not me.generation % 2 else "store"
                yield f"p{i} knows the lane", to(me._replace(step=step))
            else:
                # It syncs: a queue that was deleted has no lane any more.
                lane = me.queue if state.queue == me.queue and state.has_lane else 0
                step = "offer" if lane and not state.generation % 2 else "store"
                yield f"p{i} opens lane {lane}", to(me._replace(step=step, generation=state.generation, lane=lane))
        elif me.step == "offer":
            yield f"p{i} sends {message}", to(
                me._replace(step="look again"), in_lane=state.in_lane | {(me.lane, message)}
            )
        elif me.step == "look again":
            if state.generation == me.generation:
                yield f"p{i} lane stands", to(done)
            else:
                yield f"p{i} lane retired", to(me._replace(step="rescue"))
        elif me.step == "rescue" and not state.locked:
            found = frozenset(one for one in state.in_lane if one[0] == me.lane)
            hay = state.hay | found if state.queue == me.lane else state.hay
            yield f"p{i} rescues", to(done, in_lane=state.in_lane - found, hay=hay, closed=True, **settled(state))
        elif me.step == "store" and not state.locked:
            if state.queue != me.queue:
                yield f"p{i} finds the queue gone", to(done, **settled(state))
            else:
                yield f"p{i} stores {message}", to(
                    done, hay=state.hay | {(me.queue, message)}, closed=True, **settled(state)
                )


def settled(state: State) -> dict[str, Any]:
    """Who takes the write lock mends the version first."""
    return {"told": state.version, "unsettled": False} if state.unsettled else {}


def work_steps(state: State, most_kills: int) -> Iterator[Step]:
    """What is done to the queue next."""
    if state.work == len(WORK):
        return
    work, step, version = WORK[state.work], state.step, state.version

    def to(step: str, **changes: object) -> State:
        return replace(state, step=step, **changes)  # type: ignore[arg-type]

    finished: dict[str, object] = {"work": state.work + 1, "step": ""}
    if step == "":
        # Another one goes on where a killed one was; lanes that nobody has are swept (``recovery``).
        known = {state.queue} if state.has_lane else set()
        yield f"{work}: lock", to("commit", lanes=state.lanes & known, **settled(state))
    elif step == "commit" and work == "delete":
        # Its gate closes at once.
        yield "delete: closes gate", to("commit 2", closed=True, generation=state.generation + 1)
    elif step == "commit 2" and work == "delete":
        hay = frozenset(one for one in state.hay if one[0] != 1)
        yield "delete: commits", to(
            "tell", version=version + 1, queue=0, has_lane=False, hay=hay, unsettled=True
        )
    elif step == "commit" and work == "declare":
        yield "declare: allocates the slot", to("commit 2", closed=True, generation=state.generation + 1)
    elif step == "commit 2" and work == "declare":
        yield "declare: commits", to("tell", version=version + 1, queue=2, unsettled=True)
    elif step == "commit":
        yield "make lane: begins", to("commit 2", generation=state.generation | 1, lanes=state.lanes | {2})
    elif step == "commit 2":
        yield "make lane: commits", to("tell", version=version + 1, has_lane=True, unsettled=True)
    elif step == "tell":
        step = {"delete": "unlink lane", "declare": "", "make lane": "open gate"}[work]
        after = to(step, told=version, unsettled=False)
        yield f"{work}: tells", replace(after, **finished) if not step else after  # type: ignore[arg-type]
    elif step == "unlink lane":
        yield "delete: unlinks", to("", lanes=state.lanes - {1}, work=state.work + 1)
    elif step == "open gate":
        closed = any(one[0] == 2 for one in state.hay)
        generation = (state.generation | 1) + 1
        yield "make lane: opens gate", to("", generation=generation, closed=closed, work=state.work + 1)
    if step and state.kills < most_kills:
        # The kernel drops the lock. What is committed is done, and another one does the rest.
        committed = {"delete": state.queue != 1, "declare": state.queue == 2, "make lane": state.has_lane}[work]
        number = state.work + committed
        yield f"{work}: KILLED before {step}", replace(state, step="", work=number, kills=state.kills + 1)


class Report(NamedTuple):
    """What an exploration found: ways to it."""

    states: int
    lost: list[list[str]]
    #: Routed to a queue that everybody had been told is gone.
    misplaced: list[list[str]]
    leaked: list[list[str]]

    @property
    def clean(self) -> bool:
        """Nothing wrong was found."""
        return not (self.lost or self.misplaced or self.leaked)


def explore(publishers: int = 1, messages: int = 2, kills: int = 1, *, looks: bool = True) -> Report:
    """Visit every state that can be reached."""
    start = State(publishers=(Publisher(),) * publishers)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    report = Report(0, [], [], [])

    def way(state: State) -> list[str]:
        labels = []
        while (step := came_from[state]) is not None:
            state, label = step
            labels.append(label)
        return labels[::-1]

    while todo:
        state = todo.popleft()
        following = [*publisher_steps(state, messages, looks), *work_steps(state, kills)]
        if not following:
            there = {one for one in state.in_lane if one[0] in state.lanes} | state.hay
            if {one for one in state.routed if one[0] == state.queue} - there:
                report.lost.append(way(state))
            # The next session to come sweeps what nobody has.
            if state.lanes - {state.queue} and not state.kills:
                report.leaked.append(way(state))
        for label, after in following:
            news = {queue for queue, _ in after.routed - state.routed}
            if state.told == state.version and news - {state.queue}:
                report.misplaced.append([*way(state), label])
            if after not in came_from:
                came_from[after] = (state, label)
                todo.append(after)
    return report._replace(states=len(came_from))


def main() -> int:
    """Explore as the command line says."""
    numbers = [int(argument) for argument in sys.argv[1:]]
    publishers, messages, kills = [*numbers, *[2, 2, 2][len(numbers) :]]
    report = explore(publishers, messages, kills)
    print(
        f"{publishers} publisher(s), {messages} messages each, <= {kills} kills: {report.states} states, "
        f"{len(report.lost)} lost, {len(report.misplaced)} misplaced, {len(report.leaked)} leaked"
    )
    for found in (report.lost + report.misplaced + report.leaked)[:1]:
        print("  " + " | ".join(found))
    return int(not report.clean)


if __name__ == "__main__":
    sys.exit(main())

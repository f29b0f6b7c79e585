"""Explores every interleaving of the lane and hay protocol (docs/architecture.md).

    python -m tests.model.lane_protocol [LANE_CAPACITY] [MAX_KILLS] [MAX_LEAVES] [MAX_REFITS] [notick] [turns]

Publishers send numbered messages to one queue; consumers take one message at a time with manual acks, may
leave and join again (the last one to leave retires the lane, the first to come makes one; who serves the hay may put
another one in its place). Publishers, consumers
and whoever recovers a dead session may be killed between any two steps. What a consumer takes from a full
lane lands slot by slot, marked with a batch, and goes into the hay by one commit; a dead session's slots and what it
held go back by the commit that ends the session (``broker/recovery``), slots of a committed batch excepted.

With ``turns`` a send wakes any one of those that sleep, who may be killed first; if there is none, all will look.

Reported: confirmed messages lost, messages delivered twice, queues that stall with a live consumer asleep, and
messages of one publisher seen out of order by one consumer, unless it is told that they come again.

Step names are the code's: ``QueueHandle.offer``, ``Publisher.store``, ``Session.rescue``, ``Source.land``,
``backlog.serve``, ``Moving.drain``, ``consuming.start``, ``lanekeeping.retire_lane``, ``recovery.recover``. The
same names stand in the table of fault points (``tests/faults/points.py``), where the code is killed at each of them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

#: What a process may be at, or be killed at.
STEPS = {
    *("look at gate", "look at generation", "offer", "look again", "rescue", "store", "wake", "dead"),
    *("absent", "joins", "take", "land", "serve hay", "drain", "leave token", "ack", "asleep", "retires lane"),
    *("look at token", "look behind", "join", "recover", "refit"),
}
TOKEN = 0
#: What each publisher sends, unless limits say otherwise; numbers grow with publish time.
PUBLISHERS = ((1, 2, 3), (11,))
#: Never offered to a lane: say, it expires.
NOT_FOR_THE_LANE = frozenset({2})


class Publisher(NamedTuple):
    """Where a publisher is."""

    step: str = "look at gate"
    sent: int = 0
    #: Generation of the lane it looked at.
    generation: int = 0


class Consumer(NamedTuple):
    """Where a consumer is; and, as the last of them, whoever recovers the dead (it consumes nothing)."""

    step: str = "absent"
    #: The message in its landing slot, or in its taken list: held until acked.
    held: int = 0
    leaves: int = 0
    #: Messages in slots that are marked with the batch of a transaction …
    slots: frozenset[int] = frozenset()
    #: … which is committed: they are in the hay already.
    recorded: bool = False
    #: What it holds the lock for.
    why: str = ""
    #: With turns: it is woken, or will look at the lane before it sleeps.
    ready: bool = False
    #: What it takes from the hay when the transaction that replaces the lane commits.
    head: int = 0


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
    #: Of a closed gate: something was taken out of the lane, to be put into the hay.
    drained: bool = False
    #: Consumer that holds the write lock in the middle of a transaction; -1: nobody.
    lock: int = -1
    #: What dead sessions left that has to go back, each until somebody has recovered it.
    graves: tuple[frozenset[int], ...] = ()
    publishers: tuple[Publisher, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    kills: int = 0
    refits: int = 0
    acked: tuple[int, ...] = ()
    #: Which consumer each of them was given to; and what goes back marked as redelivered.
    takers: tuple[int, ...] = ()
    again: frozenset[int] = frozenset()

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
    #: How often a lane is replaced.
    refits: int = 0
    #: Sleepers look at the gate once a second.
    tick: bool = True
    #: Publishers look at the generation again after each send.
    look_again: bool = True
    #: Recovery passes over slots whose batch was committed.
    batches: bool = True
    #: Publishers are killed, too.
    publishers_die: bool = False
    #: One of several sleepers is woken.
    turns: bool = False
    #: Consumers look at the gate again after they have received.
    look_behind: bool = True
    publishers: tuple[tuple[int, ...], ...] = PUBLISHERS


Step = tuple[str, State]


def messages(content: tuple[int, ...]) -> frozenset[int]:
    """The messages in a lane, without tokens."""
    return frozenset(one for one in content if one != TOKEN)


def publisher_steps(state: State, limits: Limits) -> Iterator[Step]:
    """What a publisher may do next."""
    for i, me in enumerate(state.publishers):
        if me.step == "dead" or me.sent == len(limits.publishers[i]):
            continue
        message = limits.publishers[i][me.sent]

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
                to("wake", lanes=state.put(lane, ()), hay=state.hay | found, closed=True, drained=True),
            )
        elif me.step == "store" and state.lock < 0:
            yield f"p{i} stores {message}", to("wake", hay=state.hay | {message}, closed=True)
        elif me.step == "wake":
            content = state.content(state.lane)
            lanes = state.put(state.lane, content or (TOKEN,)) if state.lane else state.lanes
            yield f"p{i} wakes", to("look at gate", 1, lanes=lanes)
        if limits.publishers_die and state.kills < limits.kills and me.step != "look at gate":
            # A message that was not confirmed may be lost, or not.
            yield f"p{i} KILLED before {me.step}", to("dead", kills=state.kills + 1)


def consumer_steps(state: State, limits: Limits) -> Iterator[Step]:
    """What a consumer may do next."""
    for i, me in enumerate(state.consumers):
        if me.step == "dead":
            continue
        free = state.lock in (-1, i)
        content = state.content(state.lane)

        def to(step: str, held: int = me.held, leaves: int = me.leaves, /, **changes: object) -> State:
            own = ("slots", "recorded", "why", "ready", "head")
            mine = {name: changes.pop(name) for name in own if name in changes}
            moved = me._replace(step=step, held=held, leaves=leaves, **mine)  # type: ignore[arg-type]  # noqa: B023
            consumers = (*state.consumers[:i], moved, *state.consumers[i + 1 :])  # noqa: B023
            return replace(state, consumers=consumers, **changes)  # type: ignore[arg-type]

        if me.step == "recover":
            # Only while there is something to recover, and by one at a time (``hay.sessions.seize``).
            if state.graves and state.lock < 0:
                yield f"c{i} recovers", to("drain", lock=i, why="recover")
            continue
        if me.step == "absent" and free:
            generation = (state.generation | 1) + 1
            if state.lane:
                even = state.generation + state.generation % 2
                yield f"c{i} joins", to("look at gate", generation=even, ready=limits.turns)
            else:
                new = {"lanes": state.put(generation, ()), "generation": generation, "lane": generation}
                closed = bool(state.hay)
                drained = closed and state.drained
                made = to("look at gate", closed=closed, drained=drained, ready=limits.turns, **new)
                yield f"c{i} joins, makes lane", made
        elif me.step == "look at gate":
            if not state.closed:
                yield f"c{i} gate open", to("take", why="")
            elif me.why == "woken":
                yield f"c{i} gate closed", to("look at token", why="")
            else:
                yield f"c{i} gate closed", to("serve hay")
            if me.leaves < limits.leaves and free:
                present = [one for one in state.consumers if one.step not in ("absent", "dead", "recover")]
                if len(present) > 1:
                    yield f"c{i} leaves", to("absent", 0, me.leaves + 1)
                else:
                    yield (
                        f"c{i} retires lane",
                        to("drain", lock=i, why="retires lane", closed=True, generation=state.generation | 1),
                    )
        elif me.step == "drain":
            yield from draining(state, i, me, to)
        elif me.step == "commit":
            yield from committing(state, i, me, to)
            if me.why == "serve hay" and state.refits < limits.refits and not state.generation % 2:
                head = min(state.hay | me.slots, default=0)
                refits, odd = state.refits + 1, state.generation | 1
                yield f"c{i} refits", to("drain", why="refit", head=head, refits=refits, generation=odd)
        elif me.step == "tell":
            yield from telling(state, i, me, to)
        elif me.step == "take":
            if not content:
                yield f"c{i} lane empty", to("asleep")
            elif content[0] == TOKEN:
                yield f"c{i} takes token", to("serve hay", lanes=state.put(state.lane, content[1:]))
            else:
                yield (
                    f"c{i} lands {content[0]}",
                    to("look behind", content[0], lanes=state.put(state.lane, content[1:])),
                )
        elif me.step == "look behind":
            drained = state.drained and limits.look_behind
            yield f"c{i} {'was overtaken by a drain' if drained else 'looks behind'}", to("join" if drained else "ack")
        elif me.step == "join" and free:
            sent = next(one for one in limits.publishers if me.held in one)
            if any(one < me.held for one in (state.hay - state.again) & frozenset(sent)):
                joined = to("serve hay", 0, hay=state.hay | {me.held}, closed=True, drained=True)
                yield f"c{i} joins {me.held} to the hay", joined
            else:
                yield f"c{i} keeps {me.held}", to("ack")
        elif me.step == "serve hay" and free:
            yield f"c{i} serves hay", to("drain", lock=i, why="serve hay", closed=True)
        elif me.step == "leave token":
            yield f"c{i} leaves token", to("ack", lanes=state.put(state.lane, content or (TOKEN,)))
        elif me.step == "ack":
            acked, takers = (*state.acked, me.held), (*state.takers, i)
            yield f"c{i} acks {me.held}", to("look at gate", 0, acked=acked, takers=takers)
        elif me.step == "look at token":
            # Another consumer may have it, whom it woke, too.
            yield f"c{i} {'sees' if content else 'misses'} the token", to("serve hay" if content else "asleep")
        elif me.step == "asleep" and content and (me.ready or not limits.turns):
            yield f"c{i} wakes", to("look at gate", why="woken")
        elif me.step == "asleep" and me.ready:
            yield f"c{i} sleeps on", to("asleep", ready=False)
        elif me.step == "asleep" and limits.tick and (state.closed or content):
            yield f"c{i} wakes by itself", to("look at gate")

        running = me.step not in ("absent", "asleep") or (me.step == "asleep" and me.ready)
        if state.kills < limits.kills and running and state.lock in (-1, i):
            yield f"c{i} KILLED before {me.step}", killed(state, i, limits)


def draining(state: State, i: int, me: Consumer, to: Callable[..., State]) -> Iterator[Step]:
    """``Moving.drain``: the lane lands slot by slot. Who recovers does so only when nobody else consumes."""
    content = state.content(state.lane)
    if me.why == "recover" and any(one.step not in ("absent", "dead", "drain") for one in state.consumers[:-1]):
        yield f"c{i} need not drain", to("commit")
    elif me.why == "recover" and state.lane and not state.generation % 2:
        yield f"c{i} retires the lane", to("drain", closed=True, generation=state.generation | 1)
    elif content:
        landed = me.slots | messages(content[:1])
        rest = state.put(state.lane, content[1:])
        yield f"c{i} drains {content[0]}", to("drain", slots=landed, lanes=rest, drained=True)
    else:
        yield f"c{i} has drained", to("commit")


def committing(state: State, i: int, me: Consumer, to: Callable[..., State]) -> Iterator[Step]:
    """One commit: the slots are in the hay, and what else the transaction is for."""
    pool = state.hay | me.slots
    if me.why == "serve hay":
        rest = pool - {min(pool)} if pool else pool
        served = to("tell", min(pool) if pool else 0, hay=rest, recorded=True)
        yield f"c{i} serves {min(pool) if pool else 'nothing'}", served
    elif me.why == "refit":
        new = (state.generation | 1) + 1
        lanes = state.put(new, ())
        yield f"c{i} replaces lane", to("tell", me.head, hay=pool - {me.head}, recorded=True, lane=new, lanes=lanes)
    elif me.why == "retires lane":
        yield f"c{i} commits", to("tell", 0, hay=pool, recorded=True, lane=0)
    else:
        grave, *others = state.graves
        # It drained only if nobody else consumes: then the lane goes.
        lane = state.lane if not state.generation % 2 else 0
        closed = state.closed or bool(grave)
        why = "wake" if grave or me.slots else "recover"
        changed = to("tell", why=why, hay=pool | grave, graves=tuple(others), recorded=True, lane=lane, closed=closed)
        yield f"c{i} buries {sorted(grave)}", changed


def telling(state: State, i: int, me: Consumer, to: Callable[..., State]) -> Iterator[Step]:
    """After the commit, still under the lock: the gate page; then the slots are cleared."""
    none: dict[str, object] = {"slots": frozenset(), "recorded": False, "why": "", "lock": -1, "head": 0}
    if me.why == "refit":
        # The old lane is gone; then the new one is there.
        yield f"c{i} tells of the old lane", to("tell", why="appear", generation=(state.generation | 1) + 1)
    elif me.why in ("serve hay", "appear"):
        following = "leave token" if state.hay else ("ack" if me.held else "asleep")
        # A change that was not finished is, before the gate may open.
        generation = state.generation + (2 if me.why == "appear" else state.generation % 2)
        closed = bool(state.hay) or not state.lane
        gate = {"closed": closed, "drained": closed and state.drained, "generation": generation}
        yield f"c{i} tells", to(following, **gate, **none)
    elif me.why == "retires lane":
        yield f"c{i} tells, leaves", to("absent", 0, me.leaves + 1, generation=state.generation + 1, **none)
    else:
        content = state.content(state.lane)
        woken = state.put(state.lane, content or (TOKEN,)) if state.lane and me.why == "wake" else state.lanes
        generation = state.generation + (state.generation % 2 if not state.lane else 0)
        yield f"c{i} tells, wakes", to("recover", generation=generation, lanes=woken, **none)


def killed(state: State, i: int, limits: Limits) -> State:
    """A consumer dies, and leaves a grave; or whoever recovers, and another one will."""
    me = state.consumers[i]
    back = frozenset({me.held} if me.held else ())
    if not (me.recorded and limits.batches):
        back |= me.slots
    dead = Consumer("recover") if i == len(state.consumers) - 1 else Consumer("dead")
    # A grave without messages matters, too: a consumer is gone, and the lane may be nobody's.
    graves = tuple(sorted((*state.graves, back), key=sorted))
    consumers = (*state.consumers[:i], dead, *state.consumers[i + 1 :])
    again = state.again | back
    return replace(state, lock=-1, consumers=consumers, graves=graves, kills=state.kills + 1, again=again)


def steps(state: State, limits: Limits) -> Iterator[Step]:
    """What may happen next."""
    for label, after in (*publisher_steps(state, limits), *consumer_steps(state, limits)):
        if limits.turns and len(after.content(after.lane)) > len(state.content(after.lane)):
            yield from woken_in_turn(label, after)
        else:
            yield label, after


def woken_in_turn(label: str, state: State) -> Iterator[Step]:
    """Something was sent into the lane: one sleeper is woken; where there is none, all that are awake will look."""

    here = [i for i, one in enumerate(state.consumers[:-1]) if one.step not in ("absent", "dead")]
    sleepers = [i for i in here if state.consumers[i].step == "asleep" and not state.consumers[i].ready]
    for which in [[i] for i in sleepers] or [here]:
        consumers = [one._replace(ready=one.ready or i in which) for i, one in enumerate(state.consumers)]
        yield f"{label}, for {which}", replace(state, consumers=tuple(consumers))


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
    publishers = tuple(Publisher() for _ in limits.publishers)
    start = State(publishers=publishers, consumers=(*(Consumer() for _ in range(consumers)), Consumer("recover")))
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
        following = list(steps(state, limits))
        left = state.hay.union(*(messages(content) for _, content in state.lanes))
        if not following:
            confirmed = {one for i, me in enumerate(state.publishers) for one in limits.publishers[i][: me.sent]}
            if confirmed - set(state.acked) - left:
                report.lost.append(trace(state))
            stranded = (confirmed & left) | state.hay | messages(state.content(state.lane))
            if stranded and any(one.step not in ("absent", "dead", "recover") for one in state.consumers):
                report.stalled.append(trace(state))
            if left & set(state.acked):
                report.doubled.append(trace(state))
        if len(set(state.acked)) != len(state.acked):
            report.doubled.append(trace(state))
        if out_of_order(state, limits):
            report.reordered.append(trace(state))
        for label, after in following:
            if after not in came_from:
                came_from[after] = (state, label)
                todo.append(after)
    return report._replace(states=len(came_from))


def out_of_order(state: State, limits: Limits) -> bool:
    """Whether a consumer was given messages of one publisher in another order, without being told of it."""
    for taker in set(state.takers):
        given = [one for one, by in zip(state.acked, state.takers, strict=True) if by == taker]
        for sent in limits.publishers:
            seen = [message for message in given if message in sent and message not in state.again]
            if seen != sorted(seen):
                return True
    return False


def main() -> int:
    """Explore as the command line says."""
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    capacity, kills, leaves, refits = [*numbers, *[1, 1, 1, 0][len(numbers) :]]
    limits = Limits(capacity, kills, leaves, refits, "notick" not in sys.argv, publishers_die=True)
    limits = limits._replace(turns="turns" in sys.argv)
    failed = False
    for consumers in (1, 2):
        report = explore(consumers, limits)
        failed |= not report.clean
        print(
            f"lane {limits.capacity}, {consumers} consumer(s), "
            f"<= {limits.kills} kills, <= {limits.leaves} leaves, <= {limits.refits} refits: "
            f"{report.states} states, {len(report.lost)} lost, {len(report.stalled)} stalled, "
            f"{len(report.reordered)} reordered, {len(report.doubled)} doubled"
        )
        for found in (report.lost + report.stalled + report.reordered + report.doubled)[:1]:
            print("  " + " | ".join(found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

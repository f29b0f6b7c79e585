"""Explores every interleaving of laying messages for queues that nobody consumes (``broker/swaths.py``).

    python -m tests.model.swaths [MAX_KILLS]

A publisher lays messages for queues ``a`` and ``b``. Somebody gets messages of ``a`` one by one; a consumer comes to
``b``. Whoever looks at a queue gathers what is laid, for both. Any of them may be killed between two steps, and what a
dead publisher has laid is gathered by others. Reported: messages that are nowhere, that came twice, that came after a
later one, those beside which a live consumer sleeps, and those that nobody would find.

Step names are the code's: ``queue.lay``, ``Swaths.gather``, ``Publisher.store``, ``consuming.start``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

#: What is published, in order: queue and number.
MESSAGES = (("b", 1), ("a", 2), ("b", 3), ("b", 4))
LAYING, GATHERING, SHUT, OPEN = "laying", "gathering", "shut", "open"
Message = tuple[str, int]


class Rules(NamedTuple):
    """What the protocol does; without any of it something goes wrong."""

    #: The publisher asks the word again after it laid a message.
    asks_again: bool = True
    #: Who ends the laying says that it is about to, and that it is over when all is in the store.
    in_two_steps: bool = True
    #: The store notes up to where all is gathered, with the messages themselves.
    noted: bool = True
    #: Who finds something for a queue that has a consumer wakes it.
    wakes: bool = True
    #: A consumer whose gate is closed looks once a second.
    ticks: bool = True


class Actor(NamedTuple):
    """Where somebody is: a step, how much was done, and what was found laid when it was looked at."""

    step: str
    done: int = 0
    upto: int = 0


PUBLISHER, GETTER, CONSUMER = Actor("look"), Actor("lock"), Actor("register")


@dataclass(frozen=True)
class State:
    """The gates' words, what is where, and where everybody is."""

    a: str = SHUT
    b: str = SHUT
    #: All that was ever laid; up to where it is known to be in the store.
    laid: tuple[Message, ...] = ()
    gathered: int = 0
    hay: frozenset[Message] = frozenset()
    lane: tuple[Message, ...] = ()
    #: What was given out.
    out: tuple[Message, ...] = ()
    #: Who has the write lock.
    lock: str = ""
    consumed: bool = False
    bell: bool = False
    publisher: Actor = PUBLISHER
    getter: Actor = GETTER
    consumer: Actor = CONSUMER
    kills: int = 0
    recovered: bool = False


Step = tuple[str, State]


def gather(state: State, upto: int, rules: Rules) -> State:
    """What the commit of somebody who found that much laid does, and what comes just before it."""
    found = frozenset(state.laid[state.gathered : upto])
    hay = state.hay | found
    later = any(queue == "b" for queue, _ in found)
    return replace(
        state,
        hay=hay,
        gathered=max(upto, state.gathered) if rules.noted else state.gathered,
        b=SHUT if later and state.b == OPEN else state.b,
        bell=state.bell or (rules.wakes and later and state.consumed),
    )


def publisher_steps(state: State, rules: Rules) -> Iterator[Step]:
    """What the publisher may do next."""
    me = state.publisher
    if me.step == "dead" or me.done == len(MESSAGES):
        return
    message = MESSAGES[me.done]
    queue = message[0]
    word: str = getattr(state, queue)

    def to(step: str, more: int = 0, **changes: Any) -> State:
        return replace(state, publisher=Actor(step, me.done + more, changes.pop("upto", me.upto)), **changes)

    if me.step == "look":
        yield f"p sees {queue} {word}", to({LAYING: "lay", OPEN: "send"}.get(word, "store"))
    elif me.step == "send":
        yield f"p sends {message}", to("look", 1, lane=(*state.lane, message))
    elif me.step == "lay":
        laid, step = (*state.laid, message), "ask" if rules.asks_again else "look"
        yield f"p lays {message}", to(step, not rules.asks_again, laid=laid)
    elif me.step == "ask":
        yield f"p asks: {word}", to("look", 1) if word == LAYING else to("bring home")
    elif me.step in ("store", "bring home") and not state.lock:
        yield f"p locks to {me.step}", to(me.step + ", locked", lock="p", upto=len(state.laid))
    elif me.step == "store, locked":
        # The gate closes before the commit.
        closed: dict[str, Any] = {queue: SHUT} if word == OPEN else {}
        after = gather(replace(state, **closed), me.upto, rules)
        after = replace(after, hay=after.hay | {message}, bell=after.bell or (queue == "b" and after.consumed))
        yield f"p stores {message}", replace(after, publisher=me._replace(step="stored"))
    elif me.step == "bring home, locked":
        yield "p brings home", replace(gather(state, me.upto, rules), publisher=me._replace(step="brought"))
    elif me.step == "stored":
        lays = word in (SHUT, GATHERING) and not (queue == "b" and state.consumed)
        yield "p takes over" if lays else "p unlocks", to("look", 1, lock="", **{queue: LAYING} if lays else {})
    elif me.step == "brought":
        ended = {queue: SHUT} if word == GATHERING else {}
        yield "p unlocks", to("look", 1, lock="", bell=state.bell or (queue == "b" and state.consumed), **ended)


def getter_steps(state: State, rules: Rules) -> Iterator[Step]:
    """Somebody gets two messages of ``a``."""
    me = state.getter

    def to(step: str, **changes: Any) -> State:
        before: State = changes.pop("state", state)
        return replace(before, getter=me._replace(step=step, **changes.pop("me", {})), **changes)

    if me.step == "lock" and me.done < 2 and not state.lock:
        upto = len(state.laid) if state.a in (LAYING, GATHERING) else 0
        yield "g locks", to("locked", lock="g", me={"upto": upto})
    elif me.step == "locked":
        after = gather(state, me.upto, rules)
        heads = sorted(one for one in after.hay if one[0] == "a")[:1]
        after = replace(after, hay=after.hay - set(heads), out=(*after.out, *heads))
        yield f"g gets {heads}", to("unlock", state=after)
    elif me.step == "unlock":
        yield "g unlocks", to("lock", lock="", me={"done": me.done + 1})


def consumer_steps(state: State, rules: Rules) -> Iterator[Step]:
    """A consumer comes to ``b`` and stays."""
    me = state.consumer

    def to(step: str, **changes: Any) -> State:
        before: State = changes.pop("state", state)
        return replace(before, consumer=me._replace(step=step, **changes.pop("me", {})), **changes)

    if me.step in ("register", "serve") and not state.lock:
        ends = state.b in (LAYING, GATHERING)
        yield f"c locks to {me.step}", to(me.step + (", says" if ends else ", looked"), lock="c", me={"upto": 0})
    elif me.step.endswith(", says"):
        step = me.step.replace("says", "looks")
        yield "c ends the laying", to(step, b=GATHERING if rules.in_two_steps else SHUT)
    elif me.step.endswith(", looks"):
        yield "c looks", to(me.step.replace("looks", "looked"), me={"upto": len(state.laid)})
    elif me.step == "register, looked":
        yield "c registers", to("registered", state=replace(gather(state, me.upto, rules), consumed=True))
    elif me.step == "registered":
        yield "c unlocks", to("serve", lock="", b=SHUT if state.b == GATHERING else state.b)
    elif me.step == "serve, looked":
        after = gather(state, me.upto, rules)
        heads = sorted(one for one in after.hay if one[0] == "b")[:1]
        after = replace(after, hay=after.hay - set(heads), out=(*after.out, *heads))
        yield f"c serves {heads}", to("served" if heads else "served all", state=after)
    elif me.step == "served":
        yield "c unlocks", to("serve", lock="", b=SHUT if state.b == GATHERING else state.b)
    elif me.step == "served all":
        yield "c opens the gate", to("take", lock="", b=OPEN)
    elif me.step == "take":
        if state.lane:
            yield f"c takes {state.lane[0]}", to("take", lane=state.lane[1:], out=(*state.out, state.lane[0]))
        elif state.bell or (rules.ticks and state.b != OPEN):
            yield "c is awake", to("serve", bell=False)


def deaths(state: State, most: int) -> Iterator[Step]:
    """Whom a kill may meet; a dead publisher's session is recovered by somebody who is killed in it, or not."""
    for name, short in (("publisher", "p"), ("getter", "g"), ("consumer", "c")):
        one: Actor = getattr(state, name)
        if state.kills < most and one.step not in ("dead", "look", "register", "take"):
            lock = "" if state.lock == short else state.lock
            changes: dict[str, Any] = {name: one._replace(step="dead"), "lock": lock, "kills": state.kills + 1}
            if name == "consumer" and state.consumed:
                # Its row is gone with it, and so is the lane.
                word = SHUT if state.b == OPEN else state.b
                changes.update(consumed=False, b=word, lane=(), hay=state.hay | set(state.lane))
            yield f"{short} KILLED {one.step}", replace(state, **changes)
    if state.publisher.step == "dead" and not state.recovered and not state.lock:
        after = replace(gather(state, len(state.laid), Rules()), recovered=True)
        yield "p is recovered, half", after
        ended: dict[str, Any] = {queue: SHUT for queue in "ab" if getattr(state, queue) in (LAYING, GATHERING)}
        yield "p is recovered", replace(after, **ended)


class Report(NamedTuple):
    """What an exploration found: ways to what must not be."""

    states: int
    lost: list[list[str]]
    twice: list[list[str]]
    reordered: list[list[str]]
    #: Somebody sleeps beside a message; or nobody would find it.
    stalled: list[list[str]]
    hidden: list[list[str]]


def explore(kills: int = 1, rules: Rules | None = None) -> Report:
    """Visit every state that can be reached."""
    rules = rules or Rules()
    start = State()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    todo = deque([start])
    report = Report(0, [], [], [], [], [])

    def way(at: State) -> list[str]:
        labels = []
        while (step := came_from[at]) is not None:
            at, label = step
            labels.append(label)
        return labels[::-1]

    while todo:
        state = todo.popleft()
        following = [
            *publisher_steps(state, rules),
            *getter_steps(state, rules),
            *consumer_steps(state, rules),
            *deaths(state, kills),
        ]
        published = MESSAGES[: state.publisher.done]
        there = {*state.out, *state.hay, *state.lane, *state.laid[state.gathered :]}
        if not there >= set(published):
            report.lost.append(way(state))
        if len(set(state.out)) < len(state.out) or set(state.out) & state.hay:
            report.twice.append(way(state))
        for queue in "ab":
            given = [number for name, number in state.out if name == queue]
            if given != sorted(given):
                report.reordered.append(way(state))
        if all("KILLED" in label for label, _ in following):
            lying = {queue for queue, _ in state.laid[state.gathered :]}
            waiting = lying | {queue for queue, _ in state.hay}
            if state.consumer.step == "take" and "b" in waiting:
                report.stalled.append(way(state))
            if any(getattr(state, queue) not in (LAYING, GATHERING) for queue in lying):
                report.hidden.append(way(state))
        for label, after in following:
            if after not in came_from:
                came_from[after] = (state, label)
                todo.append(after)
    return report._replace(states=len(came_from))


if __name__ == "__main__":
    result = explore(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    counts = {name: len(getattr(result, name)) for name in ("lost", "twice", "reordered", "stalled", "hidden")}
    print(f"{result.states} states, {counts}")
    for found in (result.lost + result.twice + result.reordered + result.stalled + result.hidden)[:3]:
        print("  " + " | ".join(found))

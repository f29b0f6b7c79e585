"""Backlogs: what a publisher lays for a queue that nobody consumes is there for everybody, in order, once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.admin.looking import Look
from haypile.broker import message, rows
from haypile.broker.policies import make_policy
from haypile.broker.queue import GATHERING, LAYING
from haypile.broker.recovery import recover_dead
from haypile.broker.swaths import BACKLOG, IN_VAIN, Swaths, laid_by
from haypile.hay import swath
from haypile.hay.errors import OutOfRoom
from haypile.hay.layout import JOURNALED
from haypile.hay.swath import LONGEST, ROOM, Swath
from tests.broker.test_batch import LASTING, Desk, many, transactions
from tests.broker.test_batch_plain import PLAIN, open_desk, place

__all__ = ["place"]

GET = spec.Basic.Get(queue="q", no_ack=True)


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = open_desk(place, loop=False)
    yield one
    one.session.close()


@pytest.fixture
def other(place: Path, desk: Desk) -> Iterator[Desk]:
    """Another session of the same vhost."""
    one = open_desk(place, loop=False)
    yield one
    one.session.close()


def publish(desk: Desk, *bodies: bytes, properties: BasicProperties | None = None, queue: str = "q") -> None:
    """As BlockingConnection does."""
    for body in bodies:
        way = desk.session.way(PLAIN, "", queue)
        if way is None or not way(body, properties):
            method = spec.Basic.Publish(routing_key=queue)
            desk.session.handle(PLAIN, method, properties or BasicProperties(), body)


def handle(desk: Desk, queue: str = "q") -> Any:
    return desk.session.handle_for(desk.session.vhost.topology.queues[queue])


def lays(desk: Desk, queue: str = "q") -> bool:
    """Whether the session may lay messages for the queue."""
    one = handle(desk, queue)
    return bool(laid_by(one.words[one.base]) == desk.session.id)


def backlog(desk: Desk, count: int = 5, properties: BasicProperties | None = None) -> list[bytes]:
    """Publish as many as make a backlog, and ``count`` that are laid: all of them."""
    bodies = many(BACKLOG + count)
    publish(desk, *bodies[:BACKLOG], properties=properties)
    before = desk.stored, transactions(desk)
    publish(desk, *bodies[BACKLOG:], properties=properties)
    assert lays(desk)
    assert (desk.stored, transactions(desk)) == before
    return bodies


def got(desk: Desk, queue: str = "q") -> list[bytes]:
    """All of the queue's messages, one by one."""
    del desk.box.bodies[:]
    while True:
        before = len(desk.box.bodies)
        desk.ask(spec.Basic.Get(queue=queue, no_ack=True))
        if len(desk.box.bodies) == before:
            return list(desk.box.bodies)


def declared(desk: Desk) -> int:
    desk.ask(spec.Queue.Declare(queue="q", passive=True))
    return int(desk.box.methods[-1].message_count)


def consume(desk: Desk) -> None:
    desk.ask(spec.Basic.Consume(queue="q", no_ack=True))
    desk.flush()


def test_a_backlog_needs_no_transaction_for_each_message(desk: Desk) -> None:
    bodies = backlog(desk, 50)
    assert declared(desk) == len(bodies)
    assert desk.stored == len(bodies)
    publish(desk, b"more")
    assert desk.stored == len(bodies), "it goes on"
    assert got(desk) == [*bodies, b"more"]


def test_few_messages_are_stored_at_once(desk: Desk) -> None:
    publish(desk, *many(BACKLOG))
    assert desk.stored == BACKLOG


def test_a_full_one_is_gathered_in_one_transaction(desk: Desk) -> None:
    body = bytes(LONGEST - 500)
    backlog(desk, 0)
    before = transactions(desk)
    count = ROOM // (LONGEST - 500)
    publish(desk, *[body] * (count + 1))
    assert transactions(desk) == before + 1
    publish(desk, *[body] * (3 * count))
    assert declared(desk) == BACKLOG + 4 * count + 1


def test_long_ones_between(desk: Desk) -> None:
    bodies = [bytes([number]) * (20_000 if number % 3 else 20) for number in range(60)]
    publish(desk, *bodies)
    assert got(desk) == bodies


def test_whoever_gets(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    assert got(other) == bodies
    publish(desk, b"a", b"b")
    assert got(other) == [b"a", b"b"], "of an empty queue, too"


def test_whoever_polls(desk: Desk, other: Desk) -> None:
    """An empty queue takes no transaction."""
    backlog(desk)
    got(other)
    before = transactions(desk)
    for _ in range(5):
        assert got(other) == got(desk) == []
    assert lays(desk) and transactions(desk) == before
    publish(desk, b"a")
    assert got(other) == [b"a"]


def test_gathered_while_somebody_polls(desk: Desk, other: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is laid and the look into the store, and before the first of them."""
    backlog(desk)
    got(desk)
    lying = swath.lying
    for before in (True, False):
        publish(desk, b"a")

        def gathered(*arguments: Any, before: bool = before) -> Any:
            monkeypatch.undo()
            found = None if before else lying(*arguments)
            assert declared(desk) == 1
            return found or lying(*arguments)

        monkeypatch.setattr(swath, "lying", gathered)
        assert got(other) == [b"a"]


def test_whoever_counts(desk: Desk, other: Desk) -> None:
    assert declared(other) == 0
    assert len(backlog(desk)) == declared(other)


def test_whoever_consumes(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    consume(other)
    assert not lays(desk)
    assert other.box.bodies == bodies
    publish(desk, b"a", b"b")
    other.flush()
    other.session.pump()
    assert other.box.bodies == [*bodies, b"a", b"b"]


def test_our_own_consumer(desk: Desk) -> None:
    bodies = backlog(desk)
    consume(desk)
    publish(desk, b"a")
    desk.session.pump()
    assert not lays(desk)
    assert desk.box.bodies == [*bodies, b"a"]


def test_after_the_last_consumer(desk: Desk, other: Desk) -> None:
    backlog(desk)
    consume(other)
    other.ask(spec.Basic.Cancel(next(iter(other.session.channels[1].consumers))))
    publish(desk, b"first")
    assert got(other)[-1] == b"first"
    assert backlog(desk) == got(other)


@pytest.mark.parametrize("room", [True, False], ids=["lane", "no lane"])
@pytest.mark.parametrize("before", [False, True], ids=["after it is laid", "before it is laid"])
def test_a_consumer_that_comes_while_a_message_is_laid(
    desk: Desk, other: Desk, monkeypatch: pytest.MonkeyPatch, before: bool, room: bool
) -> None:
    consume(other)
    other.ask(spec.Basic.Cancel(next(iter(other.session.channels[1].consumers))))
    if not room:
        # Else the lane's generation tells the publisher, too.
        other.session.vhost.make_lane = lambda *_: None  # type: ignore[method-assign]
    bodies = backlog(desk)
    lay = Swath.lay

    def slowly(self: Swath, queue: int, record: bytes) -> bool:
        monkeypatch.undo()
        if before:
            consume(other)
        done = lay(self, queue, record)
        if not before:
            consume(other)
        return done

    monkeypatch.setattr(Swath, "lay", slowly)
    publish(desk, b"a")
    assert handle(desk).swath is None
    other.session.look_around()
    assert other.box.bodies == [*bodies, b"a"]
    publish(desk, b"b")
    other.session.pump()
    assert other.box.bodies == [*bodies, b"a", b"b"]


def test_a_message_for_a_consumer_that_somebody_else_gathers(
    desk: Desk, other: Desk, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the publisher is between laying and asking the gate; it does not come to that."""
    third = open_desk(place, loop=False)
    desk.ask(spec.Queue.Declare(queue="beside"))
    publish(desk, *many(BACKLOG + 1), queue="beside")
    backlog(desk)
    got(desk)
    lay = Swath.lay

    def slowly(self: Swath, queue: int, record: bytes) -> bool:
        monkeypatch.undo()
        consume(other)
        assert not handle(other).closed
        lay(self, queue, record)
        third.ask(spec.Basic.Get(queue="beside", no_ack=True))
        raise KeyboardInterrupt

    monkeypatch.setattr(Swath, "lay", slowly)
    with pytest.raises(KeyboardInterrupt):
        publish(desk, b"a")
    assert third.box.bodies == [b"0"]
    assert handle(other).closed and handle(other).lane.depth() == 1, "a token"
    other.session.look_around()
    assert other.box.bodies == [b"a"]
    third.session.close()


def test_a_consumer_of_a_queue_whose_store_is_empty(desk: Desk, other: Desk) -> None:
    """Its gate opens at once, but for what was laid."""
    backlog(desk)
    got(desk)
    publish(desk, b"a", b"b")
    assert desk.stored == 0
    consume(other)
    assert other.box.bodies == [b"a", b"b"]


def test_consumers_without_a_lane(desk: Desk, other: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """For which the kernel has no room: what is published is stored, and they are told."""
    monkeypatch.setattr(other.session.vhost, "make_lane", lambda *_: None)
    consume(other)
    publish(desk, *many(2 * BACKLOG))
    assert not lays(desk) and desk.stored == 2 * BACKLOG
    other.session.look_around()
    other.session.pump()
    assert other.box.bodies == many(2 * BACKLOG)


def test_whoever_purges(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    other.ask(spec.Queue.Purge(queue="q"))
    assert other.box.methods[-1].message_count == len(bodies)
    publish(desk, b"a")
    assert got(other) == [b"a"]


def test_whoever_deletes(desk: Desk, other: Desk) -> None:
    desk.ask(spec.Queue.Declare(queue="beside"))
    publish(desk, *many(BACKLOG + 3), queue="beside")
    bodies = backlog(desk)
    other.ask(spec.Queue.Delete(queue="q"))
    assert other.box.methods[-1].message_count == len(bodies)
    publish(desk, b"nowhere")
    other.ask(spec.Queue.Declare(queue="q", durable=True))
    publish(desk, b"a")
    assert got(other) == [b"a"]
    assert got(other, "beside") == many(BACKLOG + 3)


def test_only_if_empty(desk: Desk, other: Desk) -> None:
    desk.ask(spec.Queue.Purge(queue="q"))
    backlog(desk)
    got(desk)
    publish(desk, b"a")
    other.ask(spec.Queue.Delete(queue="q", if_empty=True))
    assert other.box.methods[-1].reply_code == 406


def test_of_several_publishers_one_lays(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    for number in range(2 * BACKLOG):
        publish(desk if number % 3 else other, b"+%d" % number)
    assert lays(desk) and handle(other).swath is None
    assert got(other) == [*bodies, *[b"+%d" % number for number in range(2 * BACKLOG)]]


def test_messages_with_headers_between(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    publish(desk, b"a", properties=BasicProperties(headers={"x": 1}))
    publish(desk, b"b")
    publish(desk, b"c", properties=BasicProperties(priority=3))
    assert got(other) == [*bodies, b"a", b"b", b"c"]


def test_what_expires_waits_behind_what_was_laid_before(desk: Desk, other: Desk) -> None:
    """RabbitMQ lets messages expire at the head of the queue only."""
    desk.ask(spec.Queue.Declare(queue="dead"))
    bodies = backlog(desk)
    now = other.session.vhost.hay.now
    publish(other, b"short", properties=BasicProperties(expiration="1"))
    publish(desk, b"behind")
    other.session.vhost.clock.now = lambda: now() + 10**9
    other.session.due.settle()
    assert other.hay.count_now(handle(other).id) == len(bodies) + 1
    assert declared(desk) == len(bodies) + 2


def test_the_end_of_a_session(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    path = desk.hay.peers.path(desk.session.id, ".swath")
    assert path.exists()
    desk.session.close()
    assert not path.exists()
    assert other.stored == len(bodies)
    assert not laid_by(handle(other).words[handle(other).base])
    assert backlog(other, 3) == got(other)[len(bodies) :]


def test_a_publisher_that_is_killed(place: Path, other: Desk) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        killed = open_desk(place, loop=False)
        backlog(killed, 9)
        os.write(writer, b"!")
        signal.pause()
    os.read(reader, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    recover_dead(other.session)
    assert other.stored == BACKLOG + 9
    other.ask(*[GET] * (BACKLOG + 9))
    assert other.box.bodies == many(BACKLOG + 9)
    assert not any(getattr(one, "redelivered", False) for one in other.box.methods)
    assert backlog(other, 2) == got(other)


def test_no_room_for_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutOfRoom("no room")

    monkeypatch.setattr(swath.Swath, "__init__", full)
    publish(desk, *many(BACKLOG + 5))
    assert desk.stored == BACKLOG + 5
    monkeypatch.undo()
    publish(desk, *many(IN_VAIN + 5))
    assert lays(desk) and desk.stored < BACKLOG + IN_VAIN + 10 == declared(desk)


def test_no_room_for_what_was_laid(desk: Desk, other: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays where it is, and is there once there is room."""
    bodies = backlog(desk)
    gather = Swaths._gather

    def full(self: Swaths, *arguments: Any) -> None:
        gather(self, *arguments)
        raise OutOfRoom("no room")

    monkeypatch.setattr(Swaths, "_gather", full)
    for end in (False, True):
        with pytest.raises(OutOfRoom), other.session.holdings.write() as moving:
            other.session.vhost.topology.sync(moving.txn)
            other.session.swaths.gather(moving.txn, handle(other), end=end)
    monkeypatch.undo()
    assert laid_by(handle(other).words[handle(other).base]) == desk.session.id
    publish(desk, b"a")
    assert not laid_by(handle(other).words[handle(other).base])
    assert got(other) == [*bodies, b"a"]


@pytest.mark.parametrize("by", ["look", "end"])
def test_persistent_messages_are_journaled_soon(place: Path, other: Desk, by: str) -> None:
    desk = open_desk(place, loop=False)
    desk.session.journaling.awaits = False  # as where no channel has confirms
    bodies = backlog(desk, 5, LASTING)
    if by == "look":
        desk.session.publisher.enroute.look()
    else:
        desk.session.close()
    assert other.stored == len(bodies)
    with other.hay.read() as reading:
        entries = reading.entries(handle(other).id, 100)
    assert len(entries) == len(bodies) and all(entry.flags & JOURNALED for entry in entries)
    desk.session.close()


def test_confirms(desk: Desk) -> None:
    """Transient ones: a kill does not take what was laid."""
    desk.ask(spec.Queue.Declare(queue="t"))
    desk.box.methods.clear()
    desk.publish(*many(BACKLOG + 5), key="t", properties=BasicProperties())
    desk.flush()
    assert lays(desk, "t")
    assert desk.confirmed[-1][0] == BACKLOG + 5
    assert got(desk, "t") == many(BACKLOG + 5)


def test_several_queues(desk: Desk, other: Desk) -> None:
    for name in ("a", "b"):
        desk.ask(spec.Queue.Declare(queue=name), spec.Queue.Bind(queue=name, exchange="amq.fanout"))
        publish(desk, *many(BACKLOG), queue=name)
        assert lays(desk, name)
        got(desk, name)
    before = transactions(desk)
    for body in many(20):
        desk.session.handle(PLAIN, spec.Basic.Publish(exchange="amq.fanout"), BasicProperties(), body)
    assert transactions(desk) == before
    assert got(other, "a") == many(20)
    assert got(other, "b") == many(20)


def test_a_policy_that_comes(desk: Desk, other: Desk) -> None:
    """A queue with a limit is looked at with each message."""
    backlog(desk)
    with other.session.holdings.write() as moving:
        context = other.session.context(moving)
        policy = make_policy("short", "q", {"max-length": 3})
        context.put(rows.policy_key(rows.POLICY, policy.name), rows.encode_policy(policy))
    publish(desk, *many(2 * BACKLOG))
    assert not lays(desk)
    assert declared(other) == 3


def test_a_loop_has_its_batch(place: Path) -> None:
    desk = open_desk(place, loop=True)
    publish(desk, *many(5 * BACKLOG))
    desk.flush()
    assert desk.stored == 5 * BACKLOG and not lays(desk)
    for _ in range(2 * BACKLOG):
        record = message.encode(desk.session.nonce, desk.session.publisher.now(), desk.session.id, b"", b"", b"", 0, 0)
        desk.session.publisher.store_one(handle(desk), record, desk.session.publisher.last, 0, None)
    assert not lays(desk)
    desk.session.close()


def test_a_listing_counts_them(desk: Desk, other: Desk) -> None:
    bodies = backlog(desk)
    assert Look(other.session).counts(other.session.vhost.topology.queues["q"]) == (len(bodies), 0)


@pytest.mark.parametrize("what", ["nothing", "no magic", "too far"])
def test_a_file_that_is_none(desk: Desk, other: Desk, what: str) -> None:
    """Somebody wrote into it: nothing is read beyond its end, and nobody fails."""
    bodies = backlog(desk)
    path = desk.hay.peers.path(desk.session.id, ".swath")
    with path.open("r+b") as file:
        if what == "nothing":
            path.unlink()
        elif what == "no magic":
            file.write(b"?")
        else:
            file.seek(16)
            file.write(b"\xff" * 8)
    assert declared(other) == len(bodies) - 5
    assert declared(desk) == len(bodies) - 5 * (what != "nothing"), "a file that is gone is not gone for its maker"


@pytest.mark.parametrize("word", [LAYING, GATHERING, 7, 2**64 - 1, 2**35 | LAYING, 99 << 3 | LAYING], ids=hex)
@pytest.mark.parametrize("look", [got, consume])
def test_a_word_that_nobody_wrote(desk: Desk, other: Desk, look: Callable[[Desk], object], word: int) -> None:
    """Whatever it names: nothing is lost, and whoever comes is served."""
    bodies = backlog(desk)
    at = handle(desk)
    at.words[at.base] = word
    publish(desk, b"last")
    look(other)
    assert other.box.bodies == [*bodies, b"last"]
    publish(desk, b"then")
    if look is got:
        look(other)
        assert other.box.bodies == [b"then"]
    else:
        other.flush()
        other.session.pump()
        assert other.box.bodies == [*bodies, b"last", b"then"]

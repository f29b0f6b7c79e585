"""Persistent publishes that wait for each other: one transaction, and what may go wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pika import spec
from pika.spec import BasicProperties

from haypile.broker import batch
from haypile.broker.journaling import Journaling
from haypile.broker.ports import VhostTarget
from haypile.broker.session import Session
from haypile.hay.errors import OutOfRoom
from haypile.hay.store import Hay
from haypile.hay.txn import WriteTxn
from haypile.hay.writing import Writing
from tests.differential.local import Box
from tests.support.vhosts import make_state_directory, remove_state_directory

LASTING = BasicProperties(delivery_mode=2)


class Told(Box):
    """What the client is told, and the bodies that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def contents(self, channel: int, batch: Sequence[tuple[Any, BasicProperties, bytes]]) -> None:
        super().contents(channel, batch)
        self.bodies.extend(body for _, _, body in batch)


class Desk:
    """A session with one channel in confirm mode, a durable queue, and what its client was told."""

    def __init__(self, place: Path, *, loop: bool = False) -> None:
        """``loop``: it must not wait for the write lock, nor for the disk."""
        self.box = Told()
        target = VhostTarget(place / "vhost", "/", journal=place / "journal")
        self.work: list[tuple[Callable[[], object], Callable[[BaseException | None], None]]] = []
        offload = (lambda work, done: self.work.append((work, done))) if loop else None
        self.session = Session.open(target, self.box, offload=offload)
        # On a slow machine, too, the disk is written to by ``flush`` alone.
        self.session.journaling.clock = lambda: 0.0
        self.hay = self.session.vhost.hay
        self.ask(spec.Channel.Open(), spec.Queue.Declare(queue="q", durable=True), spec.Confirm.Select())
        self.flush()
        self.box.methods.clear()

    def ask(self, *methods: Any) -> None:
        for method in methods:
            self.session.handle(1, method)

    def flush(self) -> None:
        """What another thread would do; or what the loop does before it sleeps."""
        self.session.before_sleep()
        work, self.work = self.work, []
        for do, done in work:
            do()
            done(None)

    def publish(self, *bodies: bytes, key: str = "q", properties: BasicProperties = LASTING) -> None:
        for body in bodies:
            self.session.handle(1, spec.Basic.Publish(routing_key=key), properties, body)

    @property
    def stored(self) -> int:
        """Messages of the queue in the store."""
        return self.hay.count_now(self.session.vhost.topology.queues["q"].id)

    @property
    def confirmed(self) -> list[tuple[int, bool]]:
        """Each confirm: tag, multiple."""
        return [(one.delivery_tag, one.multiple) for one in self.box.methods if isinstance(one, spec.Basic.Ack)]

    def take(self) -> list[bytes]:
        """All of the queue's messages."""
        self.ask(*[spec.Basic.Get(queue="q", no_ack=True)] * self.stored)
        return self.box.bodies


@pytest.fixture
def place() -> Iterator[Path]:
    directory = make_state_directory()
    yield directory
    remove_state_directory(directory)


@pytest.fixture
def desk(place: Path) -> Iterator[Desk]:
    one = Desk(place)
    yield one
    one.session.close()


@pytest.fixture
def looping(place: Path) -> Iterator[Desk]:
    one = Desk(place, loop=True)
    yield one
    one.session.close()


def transactions(desk: Desk) -> int:
    with desk.hay.read() as reading:
        return reading.number


def before_each_put(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Have ``then`` called before each message that a batch puts into the store."""
    put, put_run = WriteTxn.put, WriteTxn.put_run

    def one(*arguments: Any, **options: Any) -> None:
        then()
        put(*arguments, **options)

    def run(txn: WriteTxn, queue: int, rows: Sequence[Any], *, awaited: bool = False) -> None:
        for row in rows:
            then()
            put_run(txn, queue, [row], awaited=awaited)

    monkeypatch.setattr(WriteTxn, "put", one)
    monkeypatch.setattr(WriteTxn, "put_run", run)


def many(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_one_transaction_for_a_turn_of_the_loop(desk: Desk) -> None:
    desk.publish(b"0")
    assert desk.stored == 1, "nobody waits: there is nothing to wait for"
    desk.publish(*many(51)[1:])
    assert desk.stored == 1
    before = transactions(desk)
    desk.session.batch.store()
    assert transactions(desk) == before + 1
    assert desk.stored == 51
    assert not desk.confirmed, "not on disk yet"
    desk.flush()
    assert desk.confirmed == [(51, True)]
    assert desk.take() == many(51)


def test_others_wait_for_the_lock_no_longer_than_it_takes_to_store_so_many(desk: Desk) -> None:
    desk.publish(*many(batch.MOST))
    assert desk.stored == 1
    desk.publish(b"x")
    assert desk.stored == batch.MOST + 1
    desk.publish(bytes(batch.BYTES))
    assert desk.stored == batch.MOST + 2


@pytest.mark.parametrize(
    ("properties", "key"),
    [(BasicProperties(), "q"), (LASTING, "passing"), (LASTING, "nobody"), (LASTING, "both")],
    ids=["transient", "queue that is not durable", "no queue", "one of two"],
)
def test_another_kind_of_message_stores_them_first(desk: Desk, properties: BasicProperties, key: str) -> None:
    desk.ask(
        spec.Queue.Declare(queue="passing"),
        spec.Queue.Bind(queue="q", exchange="amq.direct", routing_key="both"),
        spec.Queue.Bind(queue="passing", exchange="amq.direct", routing_key="both"),
    )
    exchange = "amq.direct" if key == "both" else ""
    desk.publish(b"0", b"1", b"2")
    assert desk.stored == 1
    desk.session.handle(1, spec.Basic.Publish(exchange=exchange, routing_key=key), properties, b"3")
    assert desk.stored == (4 if key in ("q", "both") else 3)
    desk.publish(b"4")
    desk.flush()
    assert desk.confirmed[-1] == (5, True)
    assert desk.take() == ([b"0", b"1", b"2", b"3", b"4"] if key in ("q", "both") else [b"0", b"1", b"2", b"4"])


def test_a_queue_that_refuses_some(desk: Desk) -> None:
    desk.ask(
        spec.Queue.Declare(queue="s", durable=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    )
    desk.box.methods.clear()
    desk.publish(b"0")
    desk.publish(b"1", b"2", b"3", key="s")
    desk.publish(b"4")
    desk.publish(b"5", key="s")
    desk.flush()
    told = [(type(one).NAME, one.delivery_tag, one.multiple) for one in desk.box.methods]
    assert told == [
        ("Basic.Ack", 3, True),
        ("Basic.Nack", 4, False),
        ("Basic.Ack", 5, False),
        ("Basic.Nack", 6, False),
    ]
    assert desk.take() == [b"0", b"4"]


def test_the_end_stores_them(place: Path) -> None:
    desk = Desk(place)
    desk.publish(b"0", b"1", b"2")
    assert desk.stored == 1
    desk.session.close()
    other = Desk(place)
    assert other.take() == [b"0", b"1", b"2"]
    other.session.close()


# -- what goes wrong ----------------------------------------------------------------------------------


class Holder:
    """Another process would do: a thread that has the write lock."""

    def __init__(self, hay: Hay) -> None:
        self.has, self.may_go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.hold, args=(hay,))
        self.thread.start()
        assert self.has.wait(10)

    def hold(self, hay: Hay) -> None:
        with hay.exclusive():
            self.has.set()
            assert self.may_go.wait(10)

    def let_go(self) -> None:
        self.may_go.set()
        self.thread.join()


@pytest.mark.parametrize("then", ["sleep", "another message", "declare", "too many"])
def test_a_loop_does_not_wait_for_the_lock(looping: Desk, then: str) -> None:
    """What waits for it comes in order, once."""
    desk, expected = looping, many(4)
    desk.publish(b"0", b"1", b"2")
    holder = Holder(desk.hay)
    if then == "declare":
        desk.ask(spec.Queue.Declare(queue="q", passive=True))
    elif then == "another message":
        desk.publish(b"3", properties=BasicProperties())
    elif then == "too many":
        expected = many(3 * batch.MOST)
        desk.publish(*expected[3:])
    desk.session.before_sleep()
    assert not desk.confirmed
    if then in ("sleep", "declare"):
        desk.publish(b"3")
    holder.let_go()
    desk.session.on_timer()
    while desk.session.pressure.waiting:
        desk.session.on_timer()  # the loop has its turn in between
    desk.flush()
    desk.flush()
    if then == "declare":
        (told,) = [one for one in desk.box.methods if isinstance(one, spec.Queue.DeclareOk)]
        assert told.message_count == 3
    assert desk.confirmed[-1][0] == len(expected)
    assert desk.take() == expected


@pytest.mark.parametrize("at", ["put", "end"])
def test_no_room_for_all_of_them_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """They are tried one by one, and the client is told that it is blocked until all are stored."""
    room = {"left": 7}

    def use() -> None:
        if not room["left"]:
            raise OutOfRoom("full")
        room["left"] -= 1

    def end(self: Writing, kind: Any, error: Any, trace: Any) -> None:
        if kind is None and len(self._deltas) and sum(delta[0] for delta in self._deltas.values()) > 1:
            self.abandon()
            self._hay.unlock_file()
            self._hay.lock.release()
            raise OutOfRoom("full")
        real_end(self, kind, error, trace)

    real_end = Writing.__exit__
    desk.publish(*many(10))
    if at == "put":
        before_each_put(monkeypatch, use)
    else:
        monkeypatch.setattr(Writing, "__exit__", end)
    desk.session.before_sleep()
    assert any(isinstance(one, spec.Connection.Blocked) for one in desk.box.methods)
    desk.publish(b"10")
    room["left"] = 99
    desk.session.on_timer()
    while desk.session.pressure.waiting:
        desk.session.on_timer()
    desk.flush()
    assert [type(one).NAME for one in desk.box.methods if not isinstance(one, spec.Basic.Ack)] == [
        "Connection.Blocked",
        "Connection.Unblocked",
    ]
    assert desk.confirmed[-1][0] == 11
    assert desk.take() == many(11)


@pytest.mark.parametrize("at", ["before the transaction", "within", "after"])
def test_an_interrupt_stores_nothing_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Ctrl-C in the loop: what is not stored then is stored by the next turn, unless nobody can know."""

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    desk.publish(*many(5))
    with monkeypatch.context() as patch:
        if at == "before the transaction":
            patch.setattr(Writing, "__enter__", interrupt)
        elif at == "within":
            before_each_put(patch, interrupt)
        else:
            patch.setattr(Journaling, "stored", interrupt)
        with pytest.raises(KeyboardInterrupt):
            desk.session.before_sleep()
    desk.flush()
    assert desk.take() == many(5)

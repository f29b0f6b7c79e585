"""What is back after a reboot, as a pika program sees it; and that a confirm is never sent too early.

A reboot is simulated: the state directory (which lies in shared memory) and all kernel queues are wiped, the
journal stays. The processes before it were killed, or had said goodbye.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import haypile
from haypile import BasicProperties, URLParameters, exceptions
from haypile.hay import base, journal, log
from haypile.lanes.posix import PosixLanes
from haypile.lanes.sysv import SysVLanes
from tests.conftest import LOCAL_TRANSPORTS
from tests.support.syncs import FLUSHES, after_each
from tests.support.vhosts import make_state_directory, remove_state_directory

LASTING = BasicProperties(delivery_mode=2, message_id="kept", headers={"a": 1})


class Machine:
    """A state directory in memory, a journal on disk."""

    def __init__(self, transport: str, state: Path, disk: Path) -> None:
        self.transport = transport
        self.state = state
        self.disk = disk
        self.query = ""

    def connect(self) -> Any:
        """A connection, and in it a channel with confirms."""
        connection = haypile.BlockingConnection(URLParameters(f"{self.transport}:///reboot{self.query}"))
        channel = connection.channel()
        channel.confirm_delivery()
        return channel

    def run(self, work: Callable[[Any], None], *, kill: bool) -> None:
        """``work`` in a process of its own, which is killed then or says goodbye."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                channel = self.connect()
                work(channel)
                if kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                channel.connection.close()
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == (-signal.SIGKILL if kill else 0)

    def reboot(self) -> None:
        """Only what is on disk is left."""
        lanes = SysVLanes() if self.transport == "sysv" else PosixLanes()
        for announced in self.state.glob("*/*/lanes/*"):
            lanes.unlink_label(announced.name)
        shutil.rmtree(self.state)
        self.state.mkdir(0o700)


@pytest.fixture(params=LOCAL_TRANSPORTS)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that can be rebooted."""
    state, disk = make_state_directory(), Path(tempfile.mkdtemp(prefix="haypile-test-", dir="/var/tmp"))
    monkeypatch.setenv("HAYPILE_DIR", str(state))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(disk))
    yield Machine(request.param, state, disk)
    remove_state_directory(state)
    shutil.rmtree(disk)


def exists(channel: Any, what: str, name: str) -> bool:
    """Whether a passive declare finds it."""
    probe = channel.connection.channel()
    try:
        getattr(probe, f"{what}_declare")(name, passive=True)
    except exceptions.ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return False
    probe.close()
    return True


def bodies(channel: Any, queue: str) -> list[tuple[bytes, bool]]:
    """All messages of ``queue``, and whether they are redelivered."""
    found: list[tuple[bytes, bool]] = []
    while True:
        method, _, body = channel.basic_get(queue)
        if method is None:
            return found
        found.append((body, method.redelivered))


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
def test_what_is_back_and_what_is_gone(machine: Machine, kill: bool) -> None:
    """As in RabbitMQ (https://www.rabbitmq.com/docs/persistence-conf, /queues#durability)."""

    def work(channel: Any) -> None:
        channel.exchange_declare("keeps", "topic", durable=True)
        channel.exchange_declare("gone", "topic")
        dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        channel.queue_declare("lasting", durable=True, arguments=dead)
        channel.queue_declare("dead", durable=True)
        channel.queue_declare("transient")
        channel.queue_declare("mine", durable=True, exclusive=True)
        channel.queue_declare("limited", durable=True, arguments={"x-max-priority": 3, "x-message-ttl": 600_000})
        channel.queue_bind("lasting", "keeps", "a.*")
        channel.queue_bind("transient", "keeps", "a.*")
        channel.queue_bind("lasting", "gone", "#")
        for number in range(1, 7):
            channel.basic_publish("keeps", "a.b", b"%d" % number, LASTING)
        channel.basic_publish("", "lasting", b"transient")
        channel.basic_publish("gone", "x", b"x" * 20_000, LASTING)
        for priority in (1, 3, 2):
            properties = BasicProperties(delivery_mode=2, priority=priority)
            channel.basic_publish("", "limited", b"%d" % priority, properties)
        acked, refused, *held = [channel.basic_get("lasting")[0].delivery_tag for _ in range(4)]
        assert len(held) == 2
        channel.basic_ack(acked)
        channel.basic_reject(refused, requeue=False)
        # An acknowledgement is on disk within 30 ms; killed before, a message may come again.
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            channel.connection.process_data_events(0.05)

    machine.run(work, kill=kill)
    machine.reboot()
    channel = machine.connect()
    kept = {name: exists(channel, "queue", name) for name in ("lasting", "dead", "limited", "transient", "mine")}
    assert kept == {"lasting": True, "dead": True, "limited": True, "transient": False, "mine": False}
    assert exists(channel, "exchange", "keeps") and not exists(channel, "exchange", "gone")
    # Closed in order, held ones went back before: they are redelivered in both cases.
    method, properties, _ = channel.basic_get("dead")
    assert properties.headers["x-death"][0]["reason"] == "rejected" and properties.headers["a"] == 1
    assert properties.message_id == "kept" and properties.delivery_mode == 2
    assert [body for body, _ in bodies(channel, "dead")] == []
    assert bodies(channel, "lasting") == [
        *((b"3", True), (b"4", True), (b"5", False), (b"6", False)),
        (b"x" * 20_000, False),
    ]
    assert [body for body, _ in bodies(channel, "limited")] == [b"3", b"2", b"1"]
    channel.basic_publish("keeps", "a.c", b"new", LASTING)
    assert bodies(channel, "lasting") == [(b"new", False)]
    channel.connection.close()
    assert method is not None


def test_reboot_after_reboot(machine: Machine) -> None:
    """What was there stays, what is acknowledged is gone, order is kept."""
    for number in range(4):

        def work(channel: Any, number: int = number) -> None:
            channel.queue_declare("lasting", durable=True)
            for _ in range(3):
                channel.basic_publish("", "lasting", b"%d" % number, LASTING)
            method, _, body = channel.basic_get("lasting")
            assert body == b"%d" % (number // 3), body
            channel.basic_ack(method.delivery_tag)
            channel.connection.process_data_events(0.2)

        machine.run(work, kill=number % 2 == 0)
        machine.reboot()
    channel = machine.connect()
    assert [body for body, _ in bodies(channel, "lasting")] == [b"1", b"1", b"2", b"2", b"2", b"3", b"3", b"3"]
    channel.connection.close()


def test_durability_host_keeps_nothing_and_waits_for_nothing(machine: Machine) -> None:
    """``?durability=host``: for those to whom the death of processes is enough."""
    machine.query = "?durability=host"

    def work(channel: Any) -> None:
        channel.queue_declare("lasting", durable=True)
        channel.basic_publish("", "lasting", b"1", LASTING)

    machine.run(work, kill=True)
    channel = machine.connect()
    assert bodies(channel, "lasting") == [(b"1", False)]
    channel.connection.close()
    assert list(machine.disk.iterdir()) == []
    machine.reboot()
    channel = machine.connect()
    assert not exists(channel, "queue", "lasting")
    channel.connection.close()


# -- confirms -----------------------------------------------------------------------------------------


def numbers_on_disk(place: Path) -> set[int]:
    """Messages in a copy of a journal."""
    base_, log_ = base.Base(place / "base"), log.Log.open(place / "log")
    batches = [base.decode(payload) for _, payload in log_.batches(base_.epoch + 1)]
    base_.take_in(batches, base_.epoch + 1)
    with base_.read() as contents:
        found = {int(kept.record.rsplit(b"-", 1)[1]) for kept in contents.messages()}
    base_.close()
    log_.close()
    return found


def test_a_confirm_comes_after_the_sync_that_covers_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the journal held when it was synced last is kept aside: each confirmed message is in it."""
    channel = machine.connect()
    channel.queue_declare("lasting", durable=True)
    # A new log, and its first growth.
    channel.basic_publish("", "lasting", b"-0", LASTING)
    channel.basic_publish("", "lasting", b"-1", LASTING)
    (place,) = [found.parent for found in machine.disk.rglob("log")]
    aside = machine.disk / "synced"
    syncs = 0

    def synced_now() -> None:
        nonlocal syncs
        syncs += 1
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(place, aside)

    after_each(monkeypatch, synced_now)
    for number in range(2, 20):
        channel.basic_publish("", "lasting", b"-%d" % number, LASTING)
        assert syncs == number - 1
        assert numbers_on_disk(aside) == set(range(number + 1))
    channel.basic_publish("", "lasting", b"transient")
    assert syncs == 18
    monkeypatch.undo()
    channel.connection.close()


@pytest.mark.parametrize("threads", [False, True], ids=["the loop waits", "a thread waits"])
def test_confirms_awaited_together_come_after_the_sync_that_covers_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    """Many publishes in one transaction, several of these in one sync: what is confirmed was synced before."""
    first = machine.connect()
    first.queue_declare("lasting", durable=True)
    first.basic_publish("", "lasting", b"-0", LASTING)
    (place,) = [found.parent for found in machine.disk.rglob("log")]
    aside, count, outstanding = machine.disk / "synced", 400, 100
    synced, counts = set[int](), {"sent": 0, "confirmed": 0}

    def synced_now() -> None:
        nonlocal synced
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(place, aside)
        synced = numbers_on_disk(aside)

    def fill(channel: Any) -> None:
        while counts["sent"] < min(count, counts["confirmed"] + outstanding):
            counts["sent"] += 1
            channel.basic_publish("", "lasting", b"-%d" % counts["sent"], LASTING)

    def on_confirm(channel: Any, method: Any) -> None:
        assert set(range(1, method.delivery_tag + 1)) <= synced
        counts["confirmed"] = method.delivery_tag
        fill(channel)
        if counts["confirmed"] == count:
            channel.connection.close()

    def opened(channel: Any) -> None:
        channel.confirm_delivery(lambda frame: on_confirm(channel, frame.method), callback=lambda _: fill(channel))

    after_each(monkeypatch, synced_now)
    monkeypatch.setattr(haypile.SelectConnection, "threads", threads)
    connection = haypile.SelectConnection(
        URLParameters(f"{machine.transport}:///reboot"),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    connection.ioloop.close()
    assert counts == {"sent": count, "confirmed": count}
    monkeypatch.undo()
    first.connection.close()


@pytest.mark.parametrize("point", ["flush: read", "the sync itself", "flush: on disk", "flush: told"])
def test_no_confirm_of_what_a_reboot_would_lose(machine: Machine, point: str) -> None:
    """Killed around the sync: before it no confirm has been sent, after it the message is back."""
    told = machine.disk / "told"

    def work(channel: Any) -> None:
        channel.queue_declare("lasting", durable=True)
        channel.basic_publish("", "lasting", b"first", LASTING)

        def die(reached: str) -> None:
            if reached == point:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(journal)["reach"] = die
        if point == "the sync itself":
            for name in FLUSHES:
                vars(os)[name] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        channel.basic_publish("", "lasting", b"second", LASTING)
        told.touch()

    machine.run(work, kill=True)
    assert not told.exists()
    machine.reboot()
    channel = machine.connect()
    found = [body for body, _ in bodies(channel, "lasting")]
    channel.connection.close()
    if point in ("flush: on disk", "flush: told"):
        assert found == [b"first", b"second"]
    elif point == "flush: read":
        assert found == [b"first"]
    else:
        # Written, not synced: this machine was not really without power.
        assert found[:1] == [b"first"]


def test_the_next_connection_does_not_wait_for_the_last_one_to_be_gone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vhost's last connection of this process is closed in a thread, and has not let go of the journal when
    the next one needs it: that is the same journal, its lock the process's. Confirms come all the while.
    """
    closing, go_on = threading.Event(), threading.Event()
    close = journal.Journal.close

    def slowly(self: journal.Journal) -> None:
        closing.set()
        assert go_on.wait(30)
        close(self)

    def publish(channel: Any, number: int) -> None:
        channel.basic_publish("", "q", b"%d" % number, LASTING)

    first = machine.connect()
    first.queue_declare("q", durable=True)
    publish(first, 0)
    with monkeypatch.context() as patches:
        patches.setattr(journal.Journal, "close", slowly)
        closer = threading.Thread(target=first.connection.close)
        closer.start()
        try:
            assert closing.wait(30)
            second = machine.connect()
            publish(second, 1)
        finally:
            go_on.set()
            closer.join()
        publish(second, 2)
    second.connection.close()
    machine.reboot()
    third = machine.connect()
    assert [third.basic_get("q", auto_ack=True)[2] for _ in range(3)] == [b"0", b"1", b"2"]
    third.connection.close()

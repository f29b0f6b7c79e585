"""POSIX lanes: records and tokens through the kernel, and what each failure means."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from ctypes import addressof, c_void_p, create_string_buffer

import posix_ipc
import pytest

from haypile.lanes import posix
from haypile.lanes.errors import LaneGone, Refusal, TooBig, why_not_made
from haypile.lanes.lane import Lane, Lanes
from haypile.lanes.limits import LaneRoom, cost
from haypile.lanes.posix import PosixLane, PosixLanes
from tests.lanes.conftest import ROOMY, SMALL


def test_it_is_a_lane(lane: PosixLane) -> None:
    as_lane: Lane = lane
    as_lanes: Lanes = PosixLanes()
    assert (as_lane.maxmsg, as_lane.msgsize) == (10, 8192)
    assert as_lane.name.startswith("/haypile-test-") and as_lanes is not None
    assert os.fstat(lane.fd).st_mode & 0o777 == 0o600


def test_records_and_tokens_in_order(lane: PosixLane) -> None:
    records = [b"one", b"", b"x" * 8192, b"four"]
    assert all(lane.send(record) for record in records)
    assert lane.depth() == 4
    assert [lane.receive() for _ in range(5)] == [*records, None]


def test_several_at_a_time(lane: PosixLane, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [b"one", b"", b"three", b"four", b"five"]
    assert all(lane.send(record) for record in records)
    assert lane.receive_some(2) == [b"one", b""]
    assert lane.receive_some(9) == [b"three", b"four", b"five"]
    assert lane.receive_some(9) == []
    answers = iter([(b"a", 0), (b"b", 0), posix_ipc.SignalError("interrupted"), OSError(9, "gone")])

    def receive() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(lane, "_receive", receive)
    assert lane.receive_some(9) == [b"a", b"b"], "what came before an interrupt is kept"
    with pytest.raises(LaneGone, match="gone"):
        lane.receive_some(9)


def test_full_and_too_big(lane: PosixLane) -> None:
    assert [lane.send(b"x") for _ in range(11)] == [True] * 10 + [False]
    with pytest.raises(TooBig, match="8193 bytes do not fit"):
        lane.send(b"x" * 8193)
    assert lane.depth() == 10


def test_waiting_for_room(lane: PosixLane) -> None:
    for _ in range(10):
        lane.send(b"x")
    started = time.monotonic()
    assert not lane.send_wait(b"y", 0.02)
    assert 0.015 < time.monotonic() - started < 5
    other = PosixLanes().open(lane.name)
    assert other is not None
    thread = threading.Timer(0.02, other.receive)
    thread.start()
    assert lane.send_wait(b"y", 10)
    thread.join()
    other.close()


def test_looking_for_room_pays_or_is_left_out(lane: PosixLane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that runs makes room meanwhile; where there is none, or there are several, nobody looks for long."""
    looks = 0
    running = True

    def others_run() -> None:
        nonlocal looks
        looks += 1
        while running and lane.receive() is not None:
            pass

    monkeypatch.setattr("haypile.lanes.posix.os.sched_yield", others_run)
    for _ in range(50):
        while lane.send(b"x"):
            pass
        assert lane.send_wait(b"y", 0)
    assert looks == 50
    running, looks = False, 0
    while lane.send(b"x"):
        pass
    for _ in range(posix.IN_VAIN * 10):
        assert not lane.send_wait(b"y", 0)
    assert looks <= posix.YIELDS * 17
    looks = 0
    for _ in range(posix.IN_VAIN * 10):
        assert not lane.send_wait(b"y", 0, consumers=2)
    assert looks == 0


def test_waiting_for_room_leaves_no_descriptor(lane: PosixLane) -> None:
    other = PosixLanes().open(lane.name)
    assert other is not None
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        other.send(b"x")
    assert not other.send_wait(b"y", 0.001)
    assert not other.send_wait(b"y", 0.001)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    other.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_waiting_for_room_in_a_lane_that_was_removed(lane: PosixLane) -> None:
    """Whoever waits already is served by those who have it open; whoever begins to cannot."""
    for _ in range(10):
        lane.send(b"x")
    lane.unlink()
    with pytest.raises(LaneGone):
        lane.send_wait(b"y", 10)
    twin = posix_ipc.MessageQueue(lane.name, posix_ipc.O_CREX, mode=0o600)
    try:
        with pytest.raises(LaneGone, match="another one of that name"):
            lane.send_wait(b"y", 10)
    finally:
        twin.unlink()
        twin.close()


def test_waiting_for_room_without_a_descriptor_left(lane: PosixLane, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(10):
        lane.send(b"x")

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(posix, "Patience", refuse)
    assert not lane.send_wait(b"y", 10)
    assert lane.receive() == b"x"
    assert lane.send_wait(b"y", 10)


def test_those_who_wait_are_served_in_turn(lane: PosixLane) -> None:
    """Several wait for room: each place is one's, and nothing is lost or sent twice."""
    for number in range(10):
        lane.send(b"%d" % number)
    others = [PosixLanes().open(lane.name) for _ in range(4)]
    sent: list[bool] = []
    threads = [
        threading.Thread(target=lambda other=other, n=n: sent.append(other.send_wait(b"w%d" % n, 20)))
        for n, other in enumerate(others)
        if other is not None
    ]
    for thread in threads:
        thread.start()
    got: list[bytes | None] = []
    deadline = time.monotonic() + 20
    while len(got) < 14 and time.monotonic() < deadline:
        record = lane.receive()
        if record is not None:
            got.append(record)
    for thread in threads:
        thread.join()
    assert sent == [True] * 4
    assert got[:10] == [b"%d" % number for number in range(10)]
    assert sorted(str(one) for one in got[10:]) == [str(b"w%d" % n) for n in range(4)]
    for other in others:
        assert other is not None
        other.close()


def test_receiving_into_memory(lane: PosixLane) -> None:
    buffer = create_string_buffer(8192)
    address = c_void_p(addressof(buffer))
    assert lane.receive_into(address) == -1
    for record in (b"hello", b"", b"z" * 8192):
        lane.send(record)
    assert lane.receive_into(address) == 5 and buffer.raw[:5] == b"hello"
    assert lane.receive_into(address) == 0
    assert lane.receive_into(address) == 8192 and buffer.raw == b"z" * 8192


def test_its_descriptor_wakes_a_poll(lane: PosixLane) -> None:
    poll = select.epoll()
    poll.register(lane.fd, select.EPOLLIN)
    assert poll.poll(0) == []
    lane.send(b"")
    assert poll.poll(0) == [(lane.fd, select.EPOLLIN)]
    lane.receive()
    assert poll.poll(0) == []
    poll.close()


def test_another_handle_and_the_end(lane: PosixLane) -> None:
    lanes = PosixLanes()
    other = lanes.open(lane.name)
    assert other is not None and (other.maxmsg, other.msgsize) == (10, 8192)
    other.send(b"x")
    assert lane.receive() == b"x"
    lane.unlink()
    lane.unlink()
    assert lanes.open(lane.name) is None
    other.send(b"still there")
    assert lane.receive() == b"still there"
    other.close()
    other.close()
    assert other.fd == -1
    for call in (
        lambda: other.send(b"x"),
        other.receive,
        other.depth,
        lambda: other.receive_into(c_void_p(0)),
    ):
        with pytest.raises(LaneGone):
            call()


def test_signals_do_not_disturb(lane: PosixLane) -> None:
    """A handler that returns is not noticed; select is what waits, and Python restarts it."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for number in range(2000):
            assert lane.send(b"%d" % number)
            assert lane.receive() == b"%d" % number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_names_are_never_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["aa", "aa", "bb"])
    monkeypatch.setattr("haypile.lanes.posix.random_part", lambda: next(names))
    lanes = PosixLanes()
    first, second = lanes.create("haypile-test", SMALL), lanes.create("haypile-test", SMALL)
    assert first is not None and second is not None
    assert (first.name, second.name) == ("/haypile-test-aa", "/haypile-test-bb")
    for lane in (first, second):
        lane.unlink()
        lane.close()


# -- sizes ------------------------------------------------------------------------------------------


def test_a_lane_takes_at_most_a_quarter_of_what_is_left() -> None:
    used, sizes = 0, []
    while True:
        fitting = list(LaneRoom(819_200, used, 10, 8192).sizes())
        if not fitting:
            break
        sizes.append(fitting[0])
        used += cost(*fitting[0])
        assert fitting == sorted(fitting, reverse=True)
    assert sizes[:3] == [(10, 8192)] * 3
    assert used <= 819_200
    assert len(sizes) > 60 and sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == (1, 16)


def test_the_kernels_limits_are_kept() -> None:
    assert list(LaneRoom(-1, 0, 5, 3000).sizes()) == [
        (5, 3000),
        (5, 2048),
        (5, 1024),
        (5, 512),
        (4, 512),
        (1, 16),
    ]
    room = LaneRoom.measure([(10, 8192), (1, 1)])
    assert room.used == 82_880 + 97
    assert room.maxmsg >= 1 and room.msgsize >= 128


def test_a_refused_size_is_stepped_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []
    real = posix_ipc.MessageQueue

    def refusing(name: str, flags: int, **attributes: int) -> object:
        asked.append(attributes["max_message_size"])
        if attributes["max_message_size"] > 2000:
            raise OSError("This process already has the maximum number of files open")
        return real(name, flags, **attributes)

    monkeypatch.setattr("haypile.lanes.posix.posix_ipc.MessageQueue", refusing)
    lane = PosixLanes().create("haypile-test", ROOMY)
    assert lane is not None and (lane.maxmsg, lane.msgsize) == (10, 512)
    # There must be room for three more of its size, as far as one queue can show it; for a small one not.
    assert asked == [8192, 8192, 6336, 3264, 512]
    assert not caplog.records
    lane.unlink()
    lane.close()


def test_lanes_that_are_not_closed_yet_leave_room_for_all() -> None:
    """A publisher holds lanes that were removed until it looks again; those made meanwhile share the rest."""
    held: list[posix_ipc.MessageQueue] = []
    lanes: list[PosixLane | None] = []
    try:
        with pytest.raises(OSError):
            while True:
                held.append(posix_ipc.MessageQueue(None, posix_ipc.O_CREX, max_messages=10, max_message_size=8192))
        for queue in held:
            queue.unlink()
        for queue in held[:2]:
            queue.close()
        used = 0
        for _ in range(10):
            lane = PosixLanes().create("haypile-test", LaneRoom(819_200, used, 10, 8192))
            lanes.append(lane)
            used += cost(lane.maxmsg, lane.msgsize) if lane is not None else 0
        assert [lane is not None and lane.msgsize >= 512 for lane in lanes] == [True] * 10
    finally:
        for lane in lanes:
            if lane is not None:
                lane.unlink()
                lane.close()
        for queue in held[2:]:
            queue.close()


def test_no_room_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def refusing(*_: object, **__: object) -> object:
        asked.append(1)
        raise OSError("Insufficient space for a new queue")

    monkeypatch.setattr("haypile.lanes.posix.posix_ipc.MessageQueue", refusing)
    lanes = PosixLanes()
    with caplog.at_level(logging.WARNING, logger="haypile"):
        assert lanes.create("haypile-test", ROOMY) is None
        assert lanes.create("haypile-test", ROOMY) is None
    assert len(asked) == 2, "a smaller queue would not help"
    assert [record.getMessage() for record in caplog.records] == [
        "no kernel queue for another AMQP queue: the number of kernel queues has reached "
        "fs.mqueue.queues_max (raise it: sysctl fs.mqueue.queues_max=1024); it works through shared memory, more slowly"
    ]


def test_real_refusals_are_understood() -> None:
    """The kernel itself, asked for too much: posix_ipc's exceptions have no errno."""
    made = []
    limit = LaneRoom.measure()
    try:
        with pytest.raises(ValueError) as too_large:
            made.append(
                posix_ipc.MessageQueue(
                    None, posix_ipc.O_CREX, max_messages=limit.maxmsg + 1, max_message_size=16
                )
            )
        assert why_not_made(too_large.value) is Refusal.SIZE
        with pytest.raises(OSError) as used_up:
            for _ in range(300):
                made.append(
                    posix_ipc.MessageQueue(
                        None, posix_ipc.O_CREX, max_messages=limit.maxmsg, max_message_size=limit.msgsize
                    )
                )
        assert why_not_made(used_up.value) in (Refusal.BUDGET, Refusal.QUEUES)
        tiny = PosixLanes().create("haypile-test", SMALL)
        if tiny is not None:
            assert cost(tiny.maxmsg, tiny.msgsize) <= 9600, "a half of the 19,200 bytes it was told of"
            tiny.unlink()
            tiny.close()
    finally:
        for queue in made:
            queue.unlink()
            queue.close()

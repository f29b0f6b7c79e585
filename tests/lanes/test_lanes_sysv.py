"""System V lanes: records and tokens through the kernel, and what each failure means."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ctypes import addressof, c_void_p, create_string_buffer
from pathlib import Path

import pytest
import sysv_ipc

from haypile.lanes import sysv
from haypile.lanes.errors import LaneGone, TooBig
from haypile.lanes.landing import Landed, Landing
from haypile.lanes.lane import Lane, Lanes
from haypile.lanes.sysv import LEAD, TYPE, SysVLane, SysVLanes


@pytest.fixture
def lane() -> Iterator[SysVLane]:
    made = SysVLanes().create("haypile-test")
    assert made is not None
    yield made
    made.unlink()
    made.close()


def test_it_is_a_lane(lane: SysVLane) -> None:
    as_lane: Lane = lane
    as_lanes: Lanes = SysVLanes()
    assert as_lane.fd is None and as_lane.msgsize == 8192 and not as_lanes.pollable
    key = int(lane.name.partition("/")[2])
    assert key != sysv_ipc.IPC_PRIVATE, "other processes open it by its key"
    assert sysv_ipc.MessageQueue(key).mode == 0o600


def test_a_lane_is_called_what_it_was_announced_as() -> None:
    """Else it is taken for a stray one and swept away with what is in it (the kernel cuts large keys off)."""
    lanes = SysVLanes()
    for _ in range(8):
        announced: list[str] = []
        made = lanes.create("haypile-test", announce=announced.append)
        assert made is not None
        made.unlink()
        made.close()
        assert announced[-1] == lanes.label(made.name)


def test_records_and_tokens_in_order(lane: SysVLane) -> None:
    records = [b"one", b"", b"x" * 8192, b"four"]
    assert all(lane.send(record) for record in records)
    assert lane.depth() == 4
    assert [lane.receive() for _ in range(5)] == [*records, None]


def test_several_at_a_time(lane: SysVLane) -> None:
    records = [b"one", b"", b"three", b"four", b"five"]
    assert all(lane.send(record) for record in records)
    assert lane.receive_some(2) == [b"one", b""]
    assert lane.receive_some(9) == [b"three", b"four", b"five"]
    assert lane.receive_some(9) == []
    lane.unlink()
    with pytest.raises(LaneGone):
        lane.receive_some(9)


def test_full_and_too_big(lane: SysVLane) -> None:
    assert lane.send(b"x" * 8192)
    with pytest.raises(TooBig, match="8193 bytes do not fit"):
        lane.send(b"x" * 8193)
    sent = 1
    while lane.send(b"x" * 8192):
        sent += 1
    assert sent >= 2 and lane.depth() == sent
    started = time.monotonic()
    assert not lane.send_wait(b"y" * 8192, 0.02)
    assert 0.015 < time.monotonic() - started < 5
    thread = threading.Timer(0.02, lane.receive)
    thread.start()
    assert lane.send_wait(b"y" * 8192, 10)
    thread.join()


def test_receiving_into_memory(lane: SysVLane) -> None:
    buffer = create_string_buffer(LEAD + 8192)
    address = c_void_p(addressof(buffer))
    assert lane.receive_into(address) == -1
    for record in (b"hello", b"", b"z" * 8192):
        lane.send(record)
    assert lane.receive_into(address) == 5 and buffer.raw[LEAD : LEAD + 5] == b"hello"
    assert int.from_bytes(buffer.raw[:LEAD], sys.byteorder) == TYPE
    assert lane.receive_into(address) == 0
    assert lane.receive_into(address) == 8192 and buffer.raw[LEAD : LEAD + 8192] == b"z" * 8192


def test_a_sealed_lane_takes_nothing_and_gives_all(lane: SysVLane) -> None:
    assert lane.send(b"before")
    lane.seal()
    assert not lane.send(b"after") and not lane.send(b"")
    other = SysVLanes().open(lane.name)
    assert other is not None and not other.send(b"after") and not other.send_wait(b"after", 0.001)
    assert [lane.receive(), lane.receive()] == [b"before", None]
    lane.unseal()
    assert other.send(b"again") and lane.receive() == b"again"
    other.close()


def test_another_handle_and_the_end(lane: SysVLane) -> None:
    lanes = SysVLanes()
    other = lanes.open(lane.name)
    assert other is not None and other.name == lane.name
    other.send(b"x")
    assert lane.receive() == b"x"
    lane.unlink()
    lane.unlink()
    lanes.unlink(lane.name)
    assert lanes.open(lane.name) is None and lanes.open("nonsense") is None
    for handle in (other, lane):
        for call in (
            lambda handle=handle: handle.send(b"x"),
            handle.receive,
            handle.depth,
            handle.seal,
            lambda handle=handle: handle.receive_into(c_void_p(0)),
        ):
            with pytest.raises(LaneGone):
                call()
    other.close()
    other.close()
    for call in (lambda: other.send(b"x"), other.receive, other.depth):
        with pytest.raises(LaneGone):
            call()


def test_a_strangers_queue_under_our_old_key_is_not_ours(lane: SysVLane) -> None:
    key = int(lane.name.partition("/")[2])
    lane.unlink()
    stranger = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600)
    try:
        assert SysVLanes().open(lane.name) is None
        SysVLanes().unlink(lane.name)
        assert stranger.current_messages == 0
    finally:
        stranger.remove()


def test_keys_are_never_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter([7_000_002, 7_000_002, 7_000_003])
    monkeypatch.setattr("haypile.lanes.sysv.random_key", lambda: next(keys))
    made = [SysVLanes().create("haypile-test"), SysVLanes().create("haypile-test")]
    assert [lane.name.partition("/")[2] for lane in made if lane] == ["7000002", "7000003"]
    for lane in made:
        assert lane is not None
        lane.unlink()


def test_a_lane_is_made_under_the_label_that_was_announced() -> None:
    """Else it would be taken for a stray one, and removed with what is in it."""
    lanes = SysVLanes()
    for _ in range(40):
        announced: list[str] = []
        made = lanes.create("haypile-test", announce=announced.append)
        assert made is not None
        try:
            assert announced[-1] == lanes.label(made.name)
        finally:
            made.unlink()
            made.close()


def test_no_room_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refusing(*_: object, **__: object) -> object:
        raise OSError("The system limit for message queues has been reached")

    monkeypatch.setattr("haypile.lanes.sysv.sysv_ipc.MessageQueue", refusing)
    lanes = SysVLanes()
    with caplog.at_level(logging.WARNING, logger="haypile"):
        assert lanes.create("haypile-test") is None
        assert lanes.create("haypile-test") is None
    assert len(caplog.records) == 1 and "kernel.msgmni" in caplog.records[0].getMessage()


# -- landing ----------------------------------------------------------------------------------------


def test_records_land_behind_their_type(lane: SysVLane, place: Path) -> None:
    path = place / "1.landing"
    landing = Landing.create(path, slots=4)
    for record in (b"a record of some length", b"", b"z" * 8192):
        lane.send(record)
    first, token, big = landing.take(lane, 0, 7), landing.take(lane, 3, 8), landing.take(lane, 0, 9)
    assert first is not None and token is not None and big is not None
    assert landing.take(lane) is None
    assert [landing.record(slot) for slot in (first, token, big)] == [
        b"a record of some length",
        b"",
        b"z" * 8192,
    ]
    assert list(Landing.read(path)) == [
        Landed(first, 0, b"a record of some length", 7),
        Landed(big, 0, b"z" * 8192, 9),
    ]
    for slot in (first, token, big):
        landing.clear(slot)
    assert landing.occupied() == [] and landing.free == 4
    landing.close()


def test_killed_before_the_length_was_noted(lane: SysVLane, place: Path) -> None:
    """What msgrcv left in the slot is the type: no length."""
    path = place / "1.landing"
    landing = Landing.create(path, slots=2)
    lane.send(b"a record that tells its own length")
    buffer = landing.address(1)
    assert buffer.value is not None
    lane.receive_into(c_void_p(buffer.value - LEAD))
    found = list(Landing.read(path))
    assert len(found) == 1 and len(found[0].record) == 8192
    assert found[0].record.rstrip(b"\0") == b"a record that tells its own length"
    assert landing.record(1).rstrip(b"\0") == b"a record that tells its own length"
    landing.clear(1)
    lane.send(b"")
    lane.receive_into(c_void_p(buffer.value - LEAD))
    assert list(Landing.read(path)) == [] and landing.record(1) == b""
    landing.close()


@pytest.mark.parametrize("hidden, scheme", [("posix_ipc", "sysv"), ("sysv_ipc", "posix")])
def test_one_kind_is_enough(hidden: str, scheme: str, place: Path) -> None:
    """As where a system has only one kind of queues."""
    program = f"""
import sys
sys.modules[{hidden!r}] = None
import haypile as pika
connection = pika.BlockingConnection(pika.URLParameters("{scheme}:///one?dir={place}"))
channel = connection.channel()
channel.queue_declare("q")
channel.basic_consume("q", lambda *got: (print(got[3]), channel.stop_consuming()), auto_ack=True)
channel.basic_publish("", "q", b"through the kernel")
channel.start_consuming()
connection.close()
other = {{"sysv": "posix", "posix": "sysv"}}["{scheme}"]
try:
    pika.BlockingConnection(pika.URLParameters(f"{{other}}:///one?dir={place}"))
except pika.exceptions.AMQPConnectionError as error:
    print(error)
"""
    journal = {"HAYPILE_JOURNAL_DIR": str(place / "journal")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | journal, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("b'through the kernel'\n"), done.stderr
    assert f"install {hidden}, or use {scheme}:///" in done.stdout


def test_the_systems_limits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"msgmnb": 4096, "msgmax": 8192}
    monkeypatch.setattr(sysv, "system_limit", lambda name, default: limits[name])
    lane = SysVLanes().create("haypile-test")
    assert lane is not None and lane.msgsize == 4096
    lane.unlink()

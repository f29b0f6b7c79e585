"""A full tmpfs: publishers wait, consumers go on, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pika
import pytest

from tests.room.conftest import Program, blocked_and_unblocked, connect, consume, depth, settled
from tests.support.vhosts import Vhost

Run = Callable[..., Program]
LOW = r"low on memory: (only \d+ bytes are left in|no room left in) \S+;? .*--shm-size"


@pytest.mark.parametrize("confirm", [(), ("confirm",)], ids=["plain", "confirm"])
def test_publishers_wait_and_go_on(tiny: Vhost, run: Run, confirm: tuple[str, ...]) -> None:
    count = 2500
    publisher = run(tiny, "publish.py", str(count), "4000", *confirm)
    with connect(tiny) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        held = settled(lambda: depth(channel))
        assert 300 < held < count and publisher.process.poll() is None
        assert "low on memory" in publisher.logged() and "HAYPILE_DIR" in publisher.logged()
        assert consume(channel, count) == list(range(count))
        code, lines, _ = publisher.end()
        assert code == 0 and lines[-1] == f"published {count}"
        assert blocked_and_unblocked(lines, LOW) >= 1
        assert depth(channel) == 0


def test_a_full_file_system_of_others(tiny: Vhost) -> None:
    """Something else takes the last byte: consumers go on, by what was kept back for them."""
    with connect(tiny) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        for number in range(100):
            channel.basic_publish("", "q", b"%d " % number)
        ballast = Path(os.environ["HAYPILE_DIR"]) / "ballast"
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        got = consume(channel, 50)
        assert got == list(range(50))
        ballast.unlink()
        assert consume(channel, 50) == list(range(50, 100))


def test_the_blocked_connection_timeout_counts(tiny: Vhost, run: Run) -> None:
    publisher = run(tiny, "publish.py", "2500", "4000", "timeout=0.5")
    code, lines, _ = publisher.end()
    name, number = lines[-1].split()
    assert code == 3 and name == "ConnectionBlockedTimeout"
    with connect(tiny) as connection:
        channel = connection.channel()
        left = depth(channel)
        # The one that waited was not stored.
        assert 0 < left <= int(number) + 1
        assert consume(channel, left) == list(range(left))


def test_callbacks_of_an_asynchronous_program(tiny: Vhost) -> None:
    """SelectConnection: both callbacks are called while the loop runs; all is confirmed in the end."""
    import haypile

    seen: list[str] = []
    confirmed: list[int] = []
    count = 1500
    parameters = haypile.URLParameters(tiny.url)

    def opened(connection: haypile.SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(blocked)
        connection.add_on_connection_unblocked_callback(lambda c, f: seen.append("unblocked"))
        connection.channel(on_open_callback=ready)

    def blocked(_: object, frame: pika.frame.Method) -> None:
        seen.append("blocked")
        drain()

    def ready(channel: pika.channel.Channel) -> None:
        def on_confirm(frame: pika.frame.Method) -> None:
            assert isinstance(frame.method, pika.spec.Basic.Ack)
            confirmed.append(frame.method.delivery_tag)
            if frame.method.delivery_tag == count:
                channel.connection.close()

        def declared(_: object) -> None:
            channel.confirm_delivery(on_confirm)
            for number in range(count):
                channel.basic_publish("", "q", b"%d " % number + bytes(4000))

        channel.queue_declare("q", durable=True, callback=declared)

    def drain() -> None:
        with connect(tiny) as other:
            channel = other.channel()
            taken.extend(consume(channel, depth(channel)))

    taken: list[int] = []
    connection = haypile.SelectConnection(
        parameters, on_open_callback=opened, on_close_callback=lambda c, e: c.ioloop.stop()
    )
    connection.ioloop.start()
    assert seen and seen == ["blocked", "unblocked"] * (len(seen) // 2)
    assert confirmed[-1] == count
    drain()
    assert taken == list(range(count))


def test_a_transaction_waits_whole(tiny: Vhost) -> None:
    """tx.commit finds no room: nothing of it is there until all of it is."""
    with connect(tiny) as connection, connect(tiny, blocked_connection_timeout=0.5) as filler:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
            full = filler.channel()
            for number in range(5000):
                full.basic_publish("", "q", b"%d " % number + bytes(4000))
        held = depth(channel)
        with connect(tiny, blocked_connection_timeout=0.5) as third:
            transacted = third.channel()
            transacted.tx_select()
            for number in range(10):
                transacted.basic_publish("", "q", b"%d " % (held + number) + bytes(4000))
            with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
                transacted.tx_commit()
        assert depth(channel) == held
        assert consume(channel, held) == list(range(held))

"""Large bodies where memory is scarce take what is to spare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from haypile.hay import room
from tests.room.conftest import Mount, connect
from tests.support.vhosts import Vhost

SIZE = 60_000


@pytest.fixture
def vhost(transport: str, mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vhost:
    """One in 16 MiB of shared memory, its journal elsewhere."""
    monkeypatch.setenv("HAYPILE_DIR", str(mount(size="16m")))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(tmp_path / "journal"))
    return Vhost(transport, f"{transport}:///room", {})


def broker_session(connection: Any) -> Any:
    return connection._impl.wire.session


def test_many_publishers_leave_room_for_messages(vhost: Vhost) -> None:
    """None waits, and no alarm is set, however many there are."""
    got: list[bytes] = []
    with connect(vhost) as taking:
        channel = taking.channel()
        channel.queue_declare("q")
        channel.basic_consume("q", lambda *args: got.append(args[3]), auto_ack=True)
        connections = [connect(vhost) for _ in range(20)]
        channels = [connection.channel() for connection in connections]
        for size in (15_000, SIZE):
            for number, publisher in enumerate(channels):
                publisher.basic_publish("", "q", b"%d " % number + bytes(size))
                taking.process_data_events(0)
        while len(got) < 40:
            taking.process_data_events(0.1)
        hay = broker_session(taking).vhost.hay
        assert not hay.gates.alarm and room.left(hay) >= 2 * room.low_mark(hay) - 20 * SIZE
        slabs = [list(broker_session(connection).bodies.own) for connection in connections]
        for connection in connections:
            connection.close()
        # After those nothing is to spare for larger ones.
        assert slabs == [[1 << 14]] * 20

"""Who leaves gives back what it holds; where there is no room for that, others do it when there is."""

from __future__ import annotations

import os
from pathlib import Path

import pika
import pytest

from tests.room.conftest import Mount, connect
from tests.support.vhosts import Vhost

#: Of all that is held, in bytes; more than is kept back of a full file system.
HELD = 700_000


@pytest.fixture
def vhost(transport: str, mount: Mount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vhost:
    """One in 16 MiB of shared memory, its journal elsewhere."""
    monkeypatch.setenv("HAYPILE_DIR", str(mount(size="16m")))
    monkeypatch.setenv("HAYPILE_JOURNAL_DIR", str(tmp_path / "journal"))
    return Vhost(transport, f"{transport}:///room", {})


@pytest.mark.parametrize("size", [7000, 60_000])
@pytest.mark.parametrize("full", [False, True])
def test_what_was_held_is_there_afterwards(vhost: Vhost, size: int, *, full: bool) -> None:
    got: list[bytes] = []
    ballast = Path(os.environ["HAYPILE_DIR"]) / "ballast"
    sent = [b"%d " % number + bytes(size) for number in range(HELD // size)]
    with connect(vhost) as publishing:
        publisher = publishing.channel()
        publisher.queue_declare("q")
        taking = connect(vhost)
        taking.channel().basic_consume("q", lambda *args: got.append(args[3]))
        taking.process_data_events(0)
        for one in sent:
            publisher.basic_publish("", "q", one)
            taking.process_data_events(0)
        while len(got) < len(sent):
            taking.process_data_events(0.1)
        if full:
            with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))
            with pytest.raises(pika.exceptions.StreamLostError, match="no room left"):
                taking.close()
            ballast.unlink()
        else:
            taking.close()
    with connect(vhost) as connection:
        channel = connection.channel()
        found = [channel.basic_get("q", auto_ack=True) for _ in sent]
        assert [body for _, _, body in found] == sent
        assert all(method.redelivered for method, _, _ in found)
    assert not list(Path(os.environ["HAYPILE_DIR"]).glob("*/*/sessions/*"))

"""examples/edge: sensors here, a RabbitMQ that comes and goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.links.links import LOCAL, Running, connect, drain
from tests.support.node import Node
from tests.support.vhosts import ROOT

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]


def test_edge(node: Node, state_directory: Path, tmp_path: Path) -> None:
    """Readings taken while the RabbitMQ is away arrive when it is back."""
    with connect(node.url) as there:
        there.channel().queue_delete("readings")
        there.channel().queue_declare("readings", durable=True)
    node.stop()
    example = ROOT / "examples" / "edge"
    running = Running(tmp_path, (example / "haypile.toml").read_text(), CENTRAL_URL=node.url)
    running.start()
    command = [sys.executable, "-m", "haypile", "run", "--url", LOCAL, str(example / "sensor.py")]
    for name in ("thermometer", "barometer"):
        subprocess.run([*command, name, "50"], check=True, stdout=subprocess.DEVNULL)
    node.start()
    found = {body.decode() for _, _, body in drain(node.url, "readings", 100, 40)}
    assert found == {f"{name} {number}" for name in ("thermometer", "barometer") for number in range(50)}
    assert running.close() == 0

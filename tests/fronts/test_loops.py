"""The other loops: the same programs on a RabbitMQ and here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.vhosts import Vhost

PROGRAMS = Path(__file__).parent / "programs"

EVENTS = """open True
declared loops False
got True
from a thread
later
channel closed 404
closed 200 enough
workflow KIND True
open error ConnectionOpenAborted
"""
TWISTED = """ready True
got True
later
channel closed 404
closed ConnectionDone
"""


def needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed")


def run(vhost: Vhost, program: str, *arguments: str) -> str:
    done = vhost.run(PROGRAMS / program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("loop", "kind"),
    [
        ("select", "SelectConnection"),
        ("asyncio", "AsyncioConnection"),
        pytest.param("tornado", "TornadoConnection", marks=needs("tornado")),
        pytest.param("gevent", "GeventConnection", marks=needs("gevent")),
    ],
)
def test_callbacks(vhost: Vhost, loop: str, kind: str) -> None:
    """Open, declare, confirm, consume, threads, timers, errors, close, workflow."""
    assert run(vhost, "loops.py", loop) == EVENTS.replace("KIND", kind)


def test_asyncio_tasks(vhost: Vhost) -> None:
    """Several connections in one loop, with coroutines beside them."""
    assert run(vhost, "streams.py") == "[True, True, True] True\n"


@needs("twisted")
@pytest.mark.parametrize("way", ["endpoint", "creator", "factory"])
def test_twisted(vhost: Vhost, way: str) -> None:
    """Each way to connect, and reconnecting."""
    expected = TWISTED if way != "factory" else (TWISTED + "lost ConnectionDone\n") * 2
    assert run(vhost, "twist.py", way) == expected

"""The other loops: the same programs on a RabbitMQ and here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.vhosts import Vhost

PROGRAMS = Path(__file__).parent / "programs"

TALK = """open True
declared loops False
got True
from a thread
later
channel closed 404
"""
EVENTS = (
    TALK
    + "closed 503 COMMAND_INVALID - unknown exchange type 'nonsense'\n"
    + TALK
    + """closed 200 enough
workflow KIND True
open error True ConnectionOpenAborted
open error True REFUSED
"""
)
TWISTED = """ready True
got True
from a thread
later
channel closed 404
closed ConnectionDone
"""
#: What the programs meet where they are not let in: a directory that is not theirs alone, a password.
REFUSED = {"amqp": "ProbableAuthenticationError"}


def needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed")


@pytest.fixture(params=["run", "import"])
def way(request: pytest.FixtureRequest, vhost: Vhost) -> str:
    """How the program comes to haypile: by its launcher, or by importing it in pika's place."""
    if request.param == "import" and vhost.transport == "amqp":
        pytest.skip("pika itself is run once")
    return str(request.param)


def run(vhost: Vhost, way: str, folder: Path, program: str, *arguments: str) -> str:
    """What ``program`` prints."""
    path = PROGRAMS / program
    if way == "import":
        text = re.sub(r"(?m)^( *)import pika$", r"\1import haypile as pika", path.read_text())
        path = folder / program
        path.write_text(re.sub(r"(?m)^( *)from pika\b", r"\1from haypile", text))
        command = [sys.executable, str(path), *arguments]
        environment = vhost.process_environment(AMQP_URL=vhost.url)
    else:
        command, environment = vhost.command(path, *arguments), vhost.process_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public(tmp_path: Path) -> str:
    """A folder that is open to all."""
    folder = tmp_path / "public"
    folder.mkdir()
    folder.chmod(0o777)
    return str(folder)


@pytest.mark.followed
@pytest.mark.parametrize(
    ("loop", "kind"),
    [
        ("select", "SelectConnection"),
        ("asyncio", "AsyncioConnection"),
        pytest.param("tornado", "TornadoConnection", marks=needs("tornado")),
        pytest.param("gevent", "GeventConnection", marks=needs("gevent")),
    ],
)
def test_callbacks(vhost: Vhost, way: str, tmp_path: Path, public: str, loop: str, kind: str) -> None:
    """Open, declare, confirm, consume, threads, timers, errors, close, connect again, workflow, errors of opening."""
    refused = REFUSED.get(vhost.transport, "AMQPConnectionError")
    expected = EVENTS.replace("KIND", kind).replace("REFUSED", refused)
    assert run(vhost, way, tmp_path, "loops.py", loop, public) == expected


def test_asyncio_tasks(vhost: Vhost, way: str, tmp_path: Path) -> None:
    """Several connections in one loop, with coroutines beside them."""
    assert run(vhost, way, tmp_path, "streams.py") == "[True, True, True] True\n"


@needs("twisted")
@pytest.mark.parametrize("how", ["endpoint", "creator", "factory"])
def test_twisted(vhost: Vhost, way: str, tmp_path: Path, public: str, how: str) -> None:
    """Each way to connect, and reconnecting."""
    lost = (TWISTED + "lost ConnectionDone\n") * 2
    expected = lost if how == "factory" else TWISTED + "open error AMQPConnectionError\n"
    assert run(vhost, way, tmp_path, "twist.py", how, public) == expected


@pytest.mark.parametrize("transport", ["posix", "sysv"])
@pytest.mark.parametrize(
    "loop", ["select", pytest.param("tornado", marks=needs("tornado")), pytest.param("gevent", marks=needs("gevent"))]
)
def test_the_loop_does_not_wait_for_the_disk(make_vhost: Callable[[str], Vhost], transport: str, loop: str) -> None:
    """What a slow flush keeps is the confirm, not the loop."""
    done = make_vhost(transport).run(PROGRAMS / "slow_disk.py", loop)
    assert done.returncode == 0, done.stderr
    facts = ast.literal_eval(done.stdout)
    assert facts["confirmed"] == 10
    assert facts["flushes"] >= 2
    assert not facts["here"]
    assert facts["longest"] < facts["slow"] / 2


@needs("gevent")
def test_gevent_in_place_of_threads(make_vhost: Callable[[str], Vhost]) -> None:
    """Monkey-patched: the loop waits for the disk itself, and all the rest is the same."""
    done = make_vhost("posix").run(PROGRAMS / "slow_disk.py", "gevent", "patched")
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout)["confirmed"] == 10


PAUSES = """prefetch 1
 got [0]
prefetch 3, the consumer anew
 got [0, 1, 2]
prefetch 2 for all of the channel
 got [3, 4]
pause
resume
 got [4, 5, 6, 7, 8, 9, 10, 11]
flow
 active True
no flow
closed ConnectionClosedByBroker 540 NOT_IMPLEMENTED - active=false
closed StreamLostError Stream connection lost: ValueError('mine')
"""


@pytest.mark.parametrize(
    "loop",
    [
        "select",
        "asyncio",
        pytest.param("tornado", marks=needs("tornado")),
        pytest.param("gevent", marks=needs("gevent")),
    ],
)
def test_pausing(vhost: Vhost, loop: str) -> None:
    """basic.qos while messages are out, cancelling and consuming again, channel.flow, a callback with a mistake."""
    done = vhost.run(PROGRAMS / "pauses.py", loop)
    assert (done.returncode, done.stdout) == (0, PAUSES), done.stderr

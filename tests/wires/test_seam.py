"""pika's private names that haypile touches, on the installed pika."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnector
from pika.channel import Channel

import haypile
from haypile.wires import private
from haypile.wires.seam import blocking
from haypile.wires.seam import connection as connections

METHODS = [(owner, name) for owner, names in private.METHODS.items() for name in names]


def pikas(owner: str) -> Any:
    module, _, name = owner.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_method_is_there_with_its_parameters(owner: str, name: str) -> None:
    """A new pika that changes one of them breaks this, and ``wires.seam``."""
    signature = inspect.signature(getattr(pikas(owner), name))
    assert tuple(signature.parameters) == private.METHODS[owner][name]


NEEDS = {"gevent": "gevent", "twisted": "twisted"}


@pytest.mark.parametrize("owner", private.CLASSES)
def test_class_is_there_with_its_parameters(owner: str) -> None:
    """``wires.seam`` makes instances of them."""
    need = NEEDS.get(owner.split(".")[2].partition("_")[0])
    if need is not None and find_spec(need) is None:
        pytest.skip(f"{need} is not installed")
    assert shape(owner) == private.CLASSES[owner]


@pytest.mark.skipif(find_spec("twisted") is None, reason="twisted is not installed")
@pytest.mark.parametrize("name", private.TWISTED_METHODS)
def test_twisted_method_is_there(name: str) -> None:
    """The same, where Twisted is."""
    owner = "pika.adapters.twisted_connection.TwistedProtocolConnection"
    assert shape(f"{owner}.{name}") == private.TWISTED_METHODS[name]


def shape(name: str) -> tuple[str, ...]:
    """Parameters of what is called ``name``, looked at in another process: Twisted makes a reactor."""
    code = f"import inspect, pkgutil; print(*inspect.signature(pkgutil.resolve_name({name!r})).parameters)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


def test_attributes_are_there(connection: haypile.BlockingConnection) -> None:
    """The attributes are made in constructors; so look at instances."""
    channel = connection.channel()
    instances = {
        "pika.connection.Connection": connection._impl,
        "pika.channel.Channel": channel._impl,
        "pika.adapters.blocking_connection.BlockingConnection": connection,
        "pika.adapters.blocking_connection.BlockingChannel": channel,
        "pika.adapters.select_connection.IOLoop": connection._impl.ioloop,
        "pika.adapters.select_connection._Timer": connection._impl.ioloop._timer,
        "pika.adapters.select_connection.PollPoller": connection._impl.ioloop._poller,
        "pika.adapters.utils.connection_workflow.AMQPConnector": AMQPConnector(print, None),
    }
    assert set(instances) == set(private.ATTRIBUTES)
    for owner, names in private.ATTRIBUTES.items():
        for name in names:
            assert hasattr(instances[owner], name), (owner, name)


def test_states_are_pikas(connection: haypile.BlockingConnection) -> None:
    """The quick calls compare with constants."""
    channel = connection.channel()
    assert channel._impl._state == connections.CHANNEL_OPEN == Channel.OPEN
    assert connection._impl.connection_state == connections.OPEN
    connection.close()
    assert connection._impl.connection_state == connections.CLOSED


@pytest.mark.parametrize("name", ["basic_publish", "basic_ack", "basic_get"])
def test_quick_calls_take_what_pikas_take(name: str) -> None:
    """Names, order and defaults."""

    def shape(owner: type) -> list[tuple[str, Any]]:
        parameters = inspect.signature(getattr(owner, name)).parameters.values()
        return [(one.name, one.default) for one in parameters]

    assert shape(blocking.QuickChannel) == shape(BlockingChannel)
    assert shape(connections.WiredChannel) == shape(Channel)


def test_no_private_names_elsewhere() -> None:
    """Only ``seam`` may know them."""
    from pathlib import Path

    source = Path(haypile.__file__).parent
    known = {name for names in private.METHODS.values() for name in names}
    known |= {name for names in private.ATTRIBUTES.values() for name in names}
    for path in [*source.rglob("fronts/*.py"), *source.rglob("wires/*.py"), *source.glob("*.py")]:
        if path.name == "twisted.py":
            continue
        text = path.read_text()
        found = {name for name in known if f".{name}" in text or f"def {name}(" in text}
        assert not found, (path, found)

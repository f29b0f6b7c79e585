"""Every public name of pika is haypile's, too."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pika
import pytest

import haypile

#: Public names of pika 1.3.2 and 1.4.4 that are not in every version.
PUBLIC = [
    "AMQPConnectionWorkflow",
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "ConnectionParameters",
    "DeliveryMode",
    "PlainCredentials",
    "SSLOptions",
    "SelectConnection",
    "URLParameters",
    "adapters",
    "amqp_object",
    "callback",
    "channel",
    "compat",
    "connection",
    "credentials",
    "data",
    "delivery_mode",
    "diagnostic_utils",
    "exceptions",
    "exchange_type",
    "frame",
    "heartbeat",
    "spec",
    "tcp_socket_opts",
    "validators",
]

#: Where haypile has something of its own.
OURS = {"connection", "adapters", "adapters.blocking_connection", "adapters.select_connection"}
OURS |= {f"adapters.{loop}_connection" for loop in ("asyncio", "tornado", "gevent", "twisted")}

MODULES = sorted(
    module.name.removeprefix("pika.")
    for module in pkgutil.walk_packages(pika.__path__, "pika.")
    # What the installed pika cannot import for want of a loop library, haypile cannot either.
    if all(library not in module.name or find_spec(library) is not None for library in ("gevent", "tornado", "twisted"))
)


def test_names_of_the_package() -> None:
    """All that pika has, and what it had."""
    for name in {*PUBLIC, *(name for name in vars(pika) if not name.startswith("_"))}:
        assert hasattr(haypile, name), name
    assert set(PUBLIC) <= set(haypile.__all__)
    with pytest.raises(AttributeError, match="module 'haypile' has no attribute 'nothing'"):
        haypile.nothing  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    """The same object, or one with the same names."""
    if "twisted" in name:  # a reactor would stay in this process
        code = f"import pika.{name} as pikas, haypile.{name} as ours; print(*(set(dir(pikas)) - set(dir(ours))))"
        assert run(code.replace("dir(ours)", "{one for one in dir(pikas) if hasattr(ours, one)}")) == ""
        return
    pikas, ours = import_module(f"pika.{name}"), import_module(f"haypile.{name}")
    if name in OURS:
        for public in (one for one in vars(pikas) if not one.startswith("__")):
            assert hasattr(ours, public), public
    else:
        assert ours is pikas
        assert pikas.__name__ == f"pika.{name}"
        assert pikas.__spec__ is not None
        assert pikas.__spec__.name == f"pika.{name}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_seen_by_type_checkers(name: str) -> None:
    """A stub stands where the alias is at run time, a module where haypile has its own."""
    path = Path(haypile.__file__).parent / name.replace(".", "/")
    assert any(
        candidate.exists()
        for candidate in (
            path.with_suffix(".pyi"),
            path.with_suffix(".py"),
            path / "__init__.py",
            path / "__init__.pyi",
        )
    )


def test_exceptions_are_pikas() -> None:
    """``except pika.exceptions.X`` catches what haypile raises."""
    assert haypile.exceptions is pika.exceptions


def test_connection_classes_are_ours() -> None:
    """By each of their names."""
    from haypile.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from haypile.adapters.select_connection import IOLoop, SelectConnection
    from haypile.connection import ConnectionParameters, URLParameters

    assert BlockingConnection is haypile.BlockingConnection is haypile.adapters.BlockingConnection
    assert SelectConnection is haypile.SelectConnection is haypile.adapters.SelectConnection
    assert URLParameters is haypile.URLParameters
    assert ConnectionParameters is pika.ConnectionParameters
    assert BlockingChannel is pika.adapters.blocking_connection.BlockingChannel
    assert IOLoop is pika.adapters.select_connection.IOLoop
    assert issubclass(BlockingConnection, pika.adapters.blocking_connection.BlockingConnection)


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


LOOPS = ["asyncio", "blocking", "select", *filter(find_spec, ("tornado", "gevent", "twisted"))]


@pytest.mark.parametrize("way", ["from haypile.adapters import {} as one", "import haypile; one = haypile.adapters.{}"])
@pytest.mark.parametrize("loop", LOOPS)
def test_modules_of_adapters_are_ours_however_they_are_named(loop: str, way: str) -> None:
    """pika's package has its modules as attributes, the optional ones once they were imported."""
    name = f"{loop}_connection"
    code = f"import pika.adapters.{name}; {way.format(name)}; print(one.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"haypile.adapters.{name}\n"



def test_import_order_does_not_matter() -> None:
    """A submodule first, pika first, haypile first: one copy of each module."""
    for first in ("haypile.adapters.utils.connection_workflow", "haypile.exceptions", "pika", "haypile"):
        code = (
            f"import {first}; import haypile, pika, sys;"
            "import haypile.adapters.utils.connection_workflow as a, pika.adapters.utils.connection_workflow as b;"
            "import haypile.adapters.utils.nbio_interface as c, pika.adapters.utils.nbio_interface as d;"
            "print(a is b, c is d, haypile.exceptions is pika.exceptions,"
            " haypile.adapters.utils is pika.adapters.utils)"
        )
        assert run(code) == "True True True True", first


def test_missing_modules() -> None:
    """As for any package."""
    for name in ("haypile.nothing", "haypile.adapters.nothing", "haypile.exceptions.nothing"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            import_module(name)


def test_import_is_light() -> None:
    """The broker and the store come with the first connection, not before."""
    heavy = ("lmdb", "posix_ipc", "sysv_ipc", "click", "haypile.broker.session", "importlib.resources")
    assert run(f"import haypile, sys; print([name for name in {heavy} if name in sys.modules])") == "[]"

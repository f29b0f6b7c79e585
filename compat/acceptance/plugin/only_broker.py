"""A pytest plugin for pika's acceptance suite: what is meant for the broker goes to the transport under test.

Owns: telling the suite's connections to its broker from those to its own sockets, and leaving out what it is
told to.
Must not know: where the broker is (``HAYPILE_URL``), why something is left out (``excluded.json``).

The suite's broker is at AMQP's ports. Any other port is a socket that the suite made itself: a closed one, or a
server of its own. These stay sockets. It stands in a folder of its own, since the suite has a package ``tests``, too.
"""

from __future__ import annotations

import fnmatch
import json
import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

#: Where the suite looks for its broker.
PORTS = (5671, 5672)
#: A JSON list of patterns of test ids that are left out.
EXCLUDED_VARIABLE = "COMPAT_EXCLUDED"


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported from the suite."""
    from haypile import targets

    resolve = targets.resolve

    def resolve_broker(parameters: Any) -> Any:
        return resolve(parameters) if parameters.port in PORTS else parameters

    for name in ("front", "twisted"):
        if name == "front" or find_spec(name) is not None:
            module: Any = import_module(f"haypile.fronts.{name}")
            assert module.resolve is resolve
            module.resolve = resolve_broker


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is excluded; an exclusion that excludes nothing is an error."""
    patterns: list[str] = json.loads(os.environ.get(EXCLUDED_VARIABLE, "[]"))
    names = {item: item.nodeid.rpartition("/")[2] for item in items}
    idle = [pattern for pattern in patterns if not fnmatch.filter(names.values(), pattern)]
    if idle:
        raise pytest.UsageError(f"nothing in this suite is called {', '.join(idle)}: excluded.json is out of date")
    out = [item for item in items if any(fnmatch.fnmatch(names[item], pattern) for pattern in patterns)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in set(out)]


def pytest_report_header(config: pytest.Config) -> str:
    """Which pika it is."""
    import pika

    return f"pika from {os.path.dirname(pika.__file__)}"

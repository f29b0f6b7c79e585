"""Connections of haypile's fronts to a fresh vhost on each transport, a RabbitMQ among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import haypile
from tests.support.vhosts import Vhost

Connect = Callable[[], haypile.BlockingConnection]


@pytest.fixture
def connect(vhost: Vhost) -> Iterator[Connect]:
    """Opens blocking connections, closed after the test."""
    made: list[haypile.BlockingConnection] = []

    def connect() -> haypile.BlockingConnection:
        made.append(haypile.BlockingConnection(haypile.URLParameters(vhost.url)))
        return made[-1]

    yield connect
    for connection in made:
        if connection.is_open:
            connection.close()

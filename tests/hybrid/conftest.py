"""A hybrid connection: names that match ``far*`` live on a RabbitMQ, the others here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import haypile
from tests.hybrid.world import ROUTES
from tests.support.vhosts import Vhost


@pytest.fixture
def central(make_vhost: Callable[[str], Vhost], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of the RabbitMQ of the routes file, which is in force."""
    url = make_vhost("amqp").url
    path = tmp_path / "routes.toml"
    path.write_text(ROUTES)
    monkeypatch.setenv("HAYPILE_ROUTES", str(path))
    monkeypatch.setenv("CENTRAL_URL", url)
    return url


@pytest.fixture
def connection(central: str, state_directory: Path) -> Iterator[Any]:
    """A hybrid connection."""
    connection = haypile.BlockingConnection(haypile.URLParameters("hybrid:///mixed"))
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def channel(connection: Any) -> Any:
    """A channel of it, with a queue on each side."""
    channel = connection.channel()
    for queue in ("near", "far"):
        channel.queue_declare(queue, durable=True)
    return channel

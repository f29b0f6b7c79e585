"""Connections to a fake broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import haypile
from tests.wires import fake_broker
from tests.wires.fake_broker import FakeBroker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """A fake broker in the place of ours."""
    fake = fake_broker.install(monkeypatch)
    yield fake
    for session in fake.sessions:
        if not session.closed:
            session.close()


@pytest.fixture
def connection(broker: FakeBroker) -> Iterator[haypile.BlockingConnection]:
    """A blocking connection to it."""
    made = haypile.BlockingConnection()
    yield made
    if made.is_open:
        broker.session.failure = broker.session.on_handle = None
        made.close()

"""A RabbitMQ that these tests may stop, and programs that run beside them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import rabbitmq
from tests.support.node import Node


@pytest.fixture(scope="session")
def _node_or_reason() -> Iterator[Node | str]:
    try:
        node = Node()
    except rabbitmq.NoRabbitMQ as error:
        yield str(error)
        return
    yield node
    node.close()


@pytest.fixture
def node(_node_or_reason: Node | str, request: pytest.FixtureRequest) -> Iterator[Node]:
    """Up and unblocked when the test begins, and again when it ends."""
    if isinstance(_node_or_reason, str):
        if rabbitmq.in_ci():
            pytest.fail(_node_or_reason, pytrace=False)
        pytest.skip(_node_or_reason)
    yield _node_or_reason
    _node_or_reason.start()

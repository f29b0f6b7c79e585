"""A RabbitMQ that these tests may stop, and programs that run beside them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

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


@pytest.fixture(autouse=True)
def _pikas_log_is_text() -> Iterator[None]:
    """pytest keeps the records of a test to its end; pika's hold exceptions, and so whole connections."""
    make = logging.getLogRecordFactory()

    def make_text(name: str, *args: Any, **options: Any) -> logging.LogRecord:
        record = make(name, *args, **options)
        if name.startswith("pika"):
            record.msg, record.args, record.exc_info = record.getMessage(), None, None
        return record

    logging.setLogRecordFactory(make_text)
    yield
    logging.setLogRecordFactory(make)

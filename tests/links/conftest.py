"""What pika logs while links come and go."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest


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

"""Routes of these tests, and plain connections to one side.

Owns: which names live where. Must not know: how hybrid connections work.
"""

from __future__ import annotations

from typing import Any

import haypile

ROUTES = """
[remotes.central]
url = "${CENTRAL_URL}"

[[routes]]
match = "near.but.far"
to = "here"

[[routes]]
match = ["far*", "*.far"]
to = "central"

[[routes]]
match = "later.*"
to = "central"
buffered = true
"""


def on(url: str) -> Any:
    """A plain connection to one side."""
    return haypile.BlockingConnection(haypile.parameters.URLParameters(url, outright=True))


def count(url: str, queue: str) -> int:
    """Messages that wait there."""
    with on(url) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

"""pika's connection parameters, with haypile's URLs among those it takes.

Owns: ``URLParameters`` for ``posix:///VHOST`` and its like.
Must not know: connections.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pika.connection

from haypile.targets import LOCAL, parse_local

PikaURLParameters = pika.connection.URLParameters


class URLParameters(PikaURLParameters):  # type: ignore[misc]
    """pika's URLParameters; ``posix:///VHOST`` names kernel queues of this host.

    Raises ``targets.TargetError`` for a local URL that cannot be, ValueError as pika does for others.
    """

    #: The local URL, if it is one.
    haypile_url: str | None = None

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in LOCAL:
            super().__init__(url)
            return
        local = parse_local(url)
        super().__init__("amqp://localhost/%2F")
        self.haypile_url = url
        if local is not None and local.vhost is not None:
            self.virtual_host = local.vhost

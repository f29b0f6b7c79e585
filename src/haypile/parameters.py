"""pika's connection parameters, with haypile's URLs among those it takes.

Owns: ``URLParameters`` for ``posix:///VHOST`` and its like.
Must not know: connections.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from haypile.targets import LOCAL, OPTIONS, LocalURL, PikaURLParameters, TargetError, parse_local


class URLParameters(PikaURLParameters):  # type: ignore[misc]
    """pika's URLParameters; ``posix:///VHOST`` names kernel queues of this host.

    Its query may hold haypile's options and pika's own (``heartbeat``, ``client_properties`` …).
    Raises ``targets.TargetError`` for a local URL that cannot be, ValueError as pika does for others.
    """

    #: What the URL says, if it is a local one.
    local_url: LocalURL | None = None
    #: Whether HAYPILE_URL does not count for it: connections of haypile's own.
    outright = False

    def __init__(self, url: str, *, outright: bool = False) -> None:
        self.outright = outright
        scheme = urlsplit(url).scheme
        if scheme not in LOCAL:
            super().__init__(url)
            return
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        ours = [(name, value) for name, value in query if name in OPTIONS]
        pikas = [(name, value) for name, value in query if name not in OPTIONS]
        self.local_url = local = parse_local(f"{scheme}://{parts.netloc}{parts.path}?{urlencode(ours)}")
        user, at, _ = parts.netloc.rpartition("@")
        if at and ":" not in user:
            user += ":"
        try:
            super().__init__(f"amqp://{user}{at}localhost/%2F?{urlencode(pikas)}")
        except ValueError as error:
            raise TargetError(f"{url!r}: {error}; of haypile are {', '.join(OPTIONS)}") from error
        if local is not None and local.vhost is not None:
            self.virtual_host = local.vhost

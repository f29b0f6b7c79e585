"""A network between a program and its RabbitMQ: slow, cut, or gone.

Owns: a TCP port that leads to another one. Must not know: what is said.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit


class Proxy:
    """Call ``close`` when done."""

    def __init__(self, goal: int, port: int = 0) -> None:
        """``goal``: a port of this host. ``port``: of this; 0 for any that is free."""
        self.goal = goal
        #: Seconds that each piece takes; bytes of a piece at most.
        self.delay, self.piece = 0.0, 65_536
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self.listener.getsockname()[1])
        self.sockets: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []
        self._run(self._accept)

    def url(self, url: str) -> str:
        """``url``, by way of this."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self.port}").geturl()

    def cut(self) -> None:
        """End all connections as a network does: without a word."""
        for one in list(self.sockets):
            with contextlib.suppress(OSError):
                # On the next close, reset.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all, and let nobody in."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self.threads:
            thread.join(10)
        self.listener.close()

    def _run(self, work: object, *arguments: object) -> None:
        self.threads.append(threading.Thread(target=work, args=arguments))  # type: ignore[arg-type]
        self.threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.goal))
                except OSError:
                    near.close()
                    continue
                self.sockets |= {near, far}
                left = [2]
                self._run(self._pass_on, near, far, left)
                self._run(self._pass_on, far, near, left)

    def _pass_on(self, source: socket.socket, goal: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self.piece):
                if self.delay:
                    time.sleep(self.delay)
                goal.sendall(data)
        for one in (source, goal):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        left[0] -= 1
        if left[0] == 0:
            for one in (source, goal):
                self.sockets.discard(one)
                one.close()

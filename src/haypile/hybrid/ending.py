"""The ends of a hybrid connection's channels: by the program, by one of the sides, by a lost RabbitMQ.

Owns: telling the other sides, and what the program is told.
Must not know: which side a method is for (``session``).
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from pika import spec

if TYPE_CHECKING:
    from haypile.hybrid.channel import Channel, Side
    from haypile.hybrid.session import HybridSession

LOGGER = logging.getLogger("haypile")


def goodbye(session: HybridSession, method: Any) -> None:
    """The program closes the connection: each RabbitMQ first, and this host answers."""
    left = len(session.remotes) + 1

    def closed() -> None:
        nonlocal left
        left -= 1
        if left == 0 and not session.local.closed:
            session.local.handle(0, method)

    for remote in list(session.remotes.values()):
        remote.close(closed)
    closed()


def close(session: HybridSession, channel: Channel, method: Any) -> None:
    """The program closes a channel: this host is asked last, and answers."""
    left = len(channel.remotes)
    if not left:
        session.local.handle(channel.number, method)
        return

    def replied() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            session.local.handle(channel.number, method)

    channel.ending = True
    for remote in list(channel.remotes):
        session.ask(channel, remote, spec.Channel.Close(200, "Normal shutdown", 0, 0), spec.Channel.CloseOk, replied)


def while_closing(session: HybridSession, channel: Channel, method: Any) -> None:
    """The broker closed it: only the program's answer counts."""
    if isinstance(method, (spec.Channel.CloseOk, spec.Channel.Close)):
        del session.channels[channel.number]
        side = channel.closed_by
        if side is None:
            session.local.handle(channel.number, method)
            return
        if isinstance(side, str) and isinstance(method, spec.Channel.CloseOk):
            session.remotes[side].send(channel.number, method)
        if isinstance(method, spec.Channel.Close):
            session.outbox.method(channel.number, spec.Channel.CloseOk())


def leave(session: HybridSession, channel: Channel, but: Side | bool) -> None:
    """Close the channel on every side but one."""
    for side in (None, *channel.remotes):
        if but is True or side != but:
            close = spec.Channel.Close(200, "Normal shutdown", 0, 0)
            remote = None if side is None else session.remotes[side]
            if remote is None or not remote.lost:
                session.expected[(side, channel.number)] = deque([(spec.Channel.CloseOk, None)])
                if remote is None:
                    session.local.handle(channel.number, close)
                else:
                    remote.send(channel.number, close)
    channel.remotes = [but] if isinstance(but, str) else []


def fail(session: HybridSession, channel: Channel, code: int, text: str, method: Any = None) -> None:
    """Close the channel as a broker does."""
    index = getattr(method, "INDEX", 0)
    leave(session, channel, but=True)
    channel.closed_by = True
    session.outbox.method(channel.number, spec.Channel.Close(code, text, index >> 16, index & 0xFFFF))


def lost(session: HybridSession, side: str, reason: str, close: Any) -> None:
    """A RabbitMQ is gone, or cannot be reached."""
    LOGGER.warning("RabbitMQ %r is gone, or cannot be reached: %s", side, reason)
    if close is not None:
        end_connection(session, close.reply_code, close.reply_text, None)
        return
    lost = [key for key in session.expected if key[0] == side]
    ended = [then for key in lost for kind, then in session.expected.pop(key) if kind is spec.Channel.CloseOk]
    for channel in session.users(side):
        channel.remotes.remove(side)
        if not channel.ending and channel.closed_by is False:
            text = f"NOT_FOUND - RabbitMQ '{side}' is down or inaccessible ({reason})"
            fail(session, channel, spec.NOT_FOUND, text[:255])
    for then in ended:
        if then is not None:
            then()


def end_connection(session: HybridSession, code: int, text: str, method: Any) -> None:
    """A RabbitMQ ended its connection for what the program did: so does this one."""
    index = getattr(method, "INDEX", 0)
    session.ended_by_remote = True
    session.outbox.method(0, spec.Connection.Close(code, text[:255], index >> 16, index & 0xFFFF))

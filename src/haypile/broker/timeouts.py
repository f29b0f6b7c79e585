"""consumer_timeout: who does not acknowledge for that long loses the channel.

Owns: since when a channel's oldest unacked message has been out, and the error.
Must not know: timers (the session asks about once a second).

https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout. Deliveries are not timed one by one,
which would cost each of them a look at the clock: a look notes how far the channel's tags have come.
So a channel may live as much longer as looks are apart (RabbitMQ looks once a minute).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from haypile.broker import lifecycle, texts
from haypile.broker.errors import PreconditionFailed

if TYPE_CHECKING:
    from haypile.broker.channel import Channel
    from haypile.broker.session import Session


def look(session: Session) -> None:
    """Close the channels whose oldest unacked message is too old."""
    timeout = session.vhost.target.consumer_timeout
    now = session.vhost.clock.monotonic()
    for channel in list(session.channels.values()):
        if timeout and not channel.closing and oldest(channel, now) * 1000 > timeout:
            text = texts.ack_timeout(channel.number, timeout)
            lifecycle.fail(session, channel.number, None, PreconditionFailed(text))


def oldest(channel: Channel, now: float) -> float:
    """For how many seconds, at least, the oldest unacked message of ``channel`` has been out."""
    marks = channel.marks
    first = next(iter(channel.unacked), None)
    if first is None:
        marks.clear()
        return 0.0
    if not marks or marks[-1][0] < channel.delivery_tag:
        marks.append((channel.delivery_tag, now))
    while marks and marks[0][0] < first:
        marks.popleft()
    return now - marks[0][1] if marks else 0.0

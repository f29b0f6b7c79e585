"""``haypile trace``: every message published into a vhost and delivered from it, live.

Owns: the command's options, how an event is shown.
Must not know: where copies come from (``broker.firehose``; a RabbitMQ's own firehose).

The queue that gets the copies is exclusive: it goes with the command, however that ends, and here the copying
with it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from haypile.cli.messages import body_fields
from haypile.cli.place import Place, with_place

EXCHANGE = "amq.rabbitmq.trace"
#: Copies that wait for a slow terminal, and bytes of their bodies; beyond it the oldest are dropped.
WAITING = {"x-max-length": 10_000, "x-max-length-bytes": 16 << 20}
#: Bytes of a body on a line.
SHOWN = 64
TOLD = """\
A RabbitMQ copies nothing before `rabbitmqctl trace_on -p VHOST` was said there.\
"""


def keys(queue: str | None, exchange: str | None) -> list[str]:
    """What to bind."""
    found = [f"publish.{exchange}"] if exchange is not None else []
    if queue is not None:
        found.append(f"deliver.{queue}")
    return found or ["#"]


def event(key: str, headers: dict[str, Any], body: bytes) -> dict[str, Any]:
    """A copy as one flat object."""
    kind, _, name = key.partition(".")
    told = {name: value for name, value in headers.items() if name not in ("exchange_name", "redelivered")}
    row: dict[str, Any] = {"event": kind, "exchange": headers["exchange_name"]}
    if kind == "deliver":
        row |= {"queue": name, "redelivered": bool(headers["redelivered"])}
    return {**row, **told, **body_fields(body)}


def line(row: dict[str, Any], body: bytes) -> str:
    """The same for people."""
    key = ", ".join(map(str, row["routing_keys"]))
    if row["event"] == "publish":
        way = f"exchange {row['exchange']!r} key {key!r} to {', '.join(row['routed_queues']) or 'no queue'}"
    else:
        way = f"queue {row['queue']!r} key {key!r}" + (" redelivered" if row["redelivered"] else "")
    start = body[:SHOWN].decode(errors="backslashreplace")
    start = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in start)
    more = "…" if len(body) > SHOWN else ""
    who = f"{row.get('connection', '')} channel {row.get('channel', '')}"
    return f"{time.strftime('%H:%M:%S')} {row['event']} {way} by {who}, {len(body)} bytes: {start}{more}"


@click.command(short_help="Every message published and delivered, live.")
@click.option("--queue", "-q", metavar="NAME", help="Only what is delivered from this queue.")
@click.option("--exchange", "-e", metavar="NAME", help="Only what is published to it; '' is the default exchange.")
@click.option("--count", "-n", type=click.IntRange(1), help="End after so many.")
@click.option("--idle", type=float, metavar="SECONDS", help="End when nothing has come for so long.")
@click.option("--json", "as_json", is_flag=True, help="Whole messages, one JSON object a line.")
@with_place
def trace(
    place: Place, queue: str | None, exchange: str | None, count: int | None, idle: float | None, as_json: bool
) -> None:
    """Print every message published into a vhost and delivered from it, as it happens, until Ctrl-C.

    Nothing is taken from anybody. It is RabbitMQ's firehose (https://www.rabbitmq.com/docs/firehose): of a
    RabbitMQ it shows what that sends to amq.rabbitmq.trace, which rabbitmqctl trace_on turns on.
    """
    with place.channel() as channel:
        name = channel.queue_declare("", exclusive=True, arguments=WAITING).method.queue
        for key in keys(queue, exchange):
            channel.queue_bind(name, EXCHANGE, key)
        channel.basic_qos(prefetch_count=100)
        click.echo(f"tracing; Ctrl-C ends it.{'' if place.here else ' ' + TOLD}", err=True)
        shown = 0
        out = sys.stdout
        try:
            for method, properties, body in channel.consume(name, inactivity_timeout=idle):
                if method is None:
                    break
                row = event(method.routing_key, properties.headers, body)
                out.write((json.dumps(row, default=str) if as_json else line(row, body)) + "\n")
                out.flush()
                channel.basic_ack(method.delivery_tag)
                shown += 1
                if shown == count:
                    break
            channel.cancel()
        except KeyboardInterrupt:
            channel.cancel()

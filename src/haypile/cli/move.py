"""``haypile move``: a queue, its bindings and its messages, from here to a RabbitMQ or back.

Owns: the command's options, where the queue's topology comes from, and the progress bar.
Must not know: how messages are passed on (``links``).
"""

from __future__ import annotations

import json
import logging
import signal
import urllib.parse
from typing import TYPE_CHECKING, Any

import click
import pika.exceptions

from haypile import targets
from haypile.cli.place import Place as VhostPlace
from haypile.cli.place import decode
from haypile.cli.progress import progress
from haypile.routes import shown

if TYPE_CHECKING:
    from haypile.definitions import Contents
    from haypile.links.end import Opener


FROM = "Where it is.  [default: $HAYPILE_URL or posix:///]"


@click.command(short_help="Move a queue to a RabbitMQ, or back.")
@click.option("--from", "source", metavar="URL", envvar=targets.URL_VARIABLE, default="posix:///%2F", help=FROM)
@click.option("--to", "sink", metavar="URL", required=True, help="Where it goes: amqp://…, posix:///VHOST, …")
@click.option(
    "--definitions", "file", type=click.File(), help="A RabbitMQ's definitions: arguments and bindings of its queue."
)
@click.option("--follow", is_flag=True, help="Go on when it is empty, until Ctrl-C: producers still publish here.")
@click.argument("queue")
def move(source: str, sink: str, file: Any, follow: bool, queue: str) -> None:
    """Move QUEUE: declare it there with its arguments and bindings, and drain it, while producers and consumers go on.

    A message is acknowledged here when it is confirmed there, so a stop in the middle loses none; run it again.
    From a RabbitMQ, AMQP does not tell a queue's arguments and bindings: give --definitions, or declare the queue
    at its goal first.
    """
    from haypile.links.move import Move  # noqa: PLC0415
    from haypile.links.plan import Place, Plan  # noqa: PLC0415

    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    _prepare(source, sink, file, queue)
    plan = Plan(f"move {queue.replace('/', ' ')}", Place(shown(source), queue), Place(shown(sink), queue), hops=False)
    with progress(queue, 0) as bar:

        def on_progress(moved: int, left: int) -> None:
            bar.length = max(moved + left, 1)
            bar.step(moved - bar.done, "" if moving.link.trouble is None else f"waiting: {moving.link.trouble}")

        moving = Move(plan, opener(source), opener(sink), on_progress)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: moving.stop())
        moved = moving.run(follow)
    click.echo(f"{moved} messages moved from {shown(source)} to {shown(sink)}")


def opener(url: str) -> Opener:
    """Makes connections to ``url``, whatever HAYPILE_URL says."""
    from haypile.fronts.select import LinkConnection  # noqa: PLC0415
    from haypile.parameters import URLParameters  # noqa: PLC0415

    parameters = URLParameters(url, outright=True)
    return lambda **callbacks: LinkConnection(parameters, **callbacks)


def _prepare(source: str, sink: str, file: Any, queue: str) -> None:
    """Make the queue's topology at its goal. Raises click.ClickException."""
    from haypile import definitions  # noqa: PLC0415
    from haypile.fronts.blocking import BlockingConnection  # noqa: PLC0415
    from haypile.links.move import part_of  # noqa: PLC0415
    from haypile.parameters import URLParameters  # noqa: PLC0415

    try:
        part = part_of(_contents(source, file), queue)
        if not part.queues and targets.parse_local(source) is not None:
            raise click.ClickException(f"there is no queue {queue!r} in {source}")
        with BlockingConnection(URLParameters(sink, outright=True)) as connection:
            refused = definitions.declare(part, connection, lambda: None)
            if refused:
                raise click.ClickException(f"nothing was moved; {shown(sink)} refuses {'; '.join(refused)}")
            if not part.queues:
                connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        raise click.ClickException(
            f"{shown(sink)}: {error.reply_text}; declare it there, or give --definitions with its arguments"
        ) from error
    except targets.TargetError as error:
        raise click.ClickException(str(error)) from error
    except (pika.exceptions.AMQPError, OSError) as error:
        raise click.ClickException(f"{shown(sink)} cannot be reached ({type(error).__name__})") from error


def _contents(source: str, file: Any) -> Contents:
    """What is known of the topology that the queue is in."""
    from haypile import definitions  # noqa: PLC0415

    local = targets.parse_local(source)
    if local is not None:
        found = definitions.empty()
        name = local.vhost if local.vhost is not None else "/"
        with VhostPlace(source, name).session("move", "move queues", "") as session:
            definitions.add_vhost(found, name, session.vhost.topology)
    elif file is not None:
        name = urllib.parse.unquote(urllib.parse.urlsplit(source).path[1:]) or "/"
        found = decode(file.read())
    else:
        return definitions.Contents()
    try:
        return definitions.parse(json.loads(json.dumps(found)), name).get(name) or definitions.Contents()
    except definitions.InvalidDefinitions as error:
        raise click.ClickException(str(error)) from error

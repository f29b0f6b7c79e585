"""``haypile publish, get, peek, consume``: messages on the command line.

Owns: how messages are given and shown.
Must not know: where they go (``place``).

A message is shown as its body and a line end, bytes as they are; with --json as one JSON object a line, whose
body is text where it is UTF-8, else base64 in ``body_base64``.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from haypile.cli.place import NOTHING, Place, with_place
from haypile.cli.progress import progress

json_option = click.option("--json", "as_json", is_flag=True, help="Whole messages, one JSON object a line.")


# -- publishing -------------------------------------------------------------------------------


def parse_headers(pairs: tuple[str, ...]) -> dict[str, Any] | None:
    """NAME=VALUE, the value as JSON where it is, else as text. Raises click.BadParameter."""
    headers: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--header")
        try:
            headers[name] = json.loads(value)
        except ValueError:
            headers[name] = value
    return headers or None


def parse_properties(pairs: tuple[str, ...], headers: dict[str, Any] | None, persistent: bool) -> Any:
    """pika's properties. Raises click.BadParameter."""
    from pika import BasicProperties  # noqa: PLC0415 - --help needs no pika

    known = set(vars(BasicProperties())) - {"headers"}
    values: dict[str, Any] = {"delivery_mode": 2} if persistent else {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(sorted(known))}", param_hint="--property")
        values[name] = value
    for name in values.keys() & {"priority", "delivery_mode", "timestamp"}:
        try:
            values[name] = int(values[name])
        except ValueError:
            raise click.BadParameter(
                f"{name} is {values[name]!r}, but must be a number", param_hint="--property"
            ) from None
    return BasicProperties(headers=headers, **values)


@click.command(short_help="Publish messages.")
@click.argument("routing_key")
@click.argument("body", required=False)
@click.option("--exchange", "-e", default="", metavar="NAME", help="The exchange.  [default: the default exchange]")
@click.option(
    "--file", "-f", "source", type=click.File("rb"), help="The body is this file's content; - is standard input."
)
@click.option("--lines", is_flag=True, help="Every line of the file is a message.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Publish so many times.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME=VALUE", help="A header; may be repeated.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="A property: type, priority …")
@click.option("--persistent", is_flag=True, help="Survives a reboot, in a durable queue.")
@with_place
def publish(
    place: Place,
    routing_key: str,
    body: str | None,
    exchange: str,
    source: Any,
    lines: bool,
    count: int,
    headers: tuple[str, ...],
    properties: tuple[str, ...],
    persistent: bool,
) -> None:
    """Publish BODY with ROUTING_KEY: by the default exchange that is the name of a queue.

    Without BODY it is read from --file or standard input. Every message is confirmed; one that no queue gets is
    an error.
    """
    from pika.exceptions import NackError, UnroutableError  # noqa: PLC0415 - as above

    if body is not None and (source is not None or lines):
        raise click.UsageError("Give BODY, or --file, not both.")
    made = parse_properties(properties, parse_headers(headers), persistent)
    bodies = list(read_bodies(body, source, lines)) * count
    with place.channel() as channel:
        channel.confirm_delivery()
        with progress("publishing", len(bodies)) as bar:
            for number, one in enumerate(bodies):
                bar.step()
                try:
                    channel.basic_publish(exchange, routing_key, one, made, mandatory=True)
                except UnroutableError:
                    raise click.ClickException(
                        f"no queue gets messages of exchange {exchange!r} with key {routing_key!r} "
                        f"({number} were published)"
                    ) from None
                except NackError:
                    raise click.ClickException(f"a queue refused the message ({number} were published)") from None


def read_bodies(body: str | None, source: Any, lines: bool) -> Iterator[bytes]:
    """What is to be published."""
    if body is not None:
        yield body.encode("utf-8", "surrogateescape")
        return
    content: Any = source if source is not None else sys.stdin.buffer
    if lines:
        for line in content:
            yield line.removesuffix(b"\n").removesuffix(b"\r")
    else:
        yield content.read()


# -- showing ----------------------------------------------------------------------------------


def show(body: bytes, exchange: str, routing_key: str, redelivered: bool, properties: Any, as_json: bool) -> None:
    """Print one message."""
    out = sys.stdout.buffer
    if not as_json:
        out.write(body + b"\n")
    else:
        row: dict[str, Any] = {"exchange": exchange, "routing_key": routing_key, "redelivered": redelivered}
        row["properties"] = {name: value for name, value in vars(properties).items() if value is not None}
        out.write(json.dumps({**row, **body_fields(body)}, default=str).encode() + b"\n")
    out.flush()


def body_fields(body: bytes) -> dict[str, str]:
    """A body in JSON: text where it is UTF-8."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


@click.command(short_help="Look at messages, which stay in the queue.")
@click.argument("queue")
@click.option("--count", "-n", type=click.IntRange(1), default=10, show_default=True, help="At most so many.")
@json_option
@with_place
def peek(place: Place, queue: str, count: int, as_json: bool) -> None:
    """Show the first messages of QUEUE; they stay where they are.

    Of a RabbitMQ they are taken and put back, which marks them redelivered.
    """
    if place.here:
        with place.look("peek", "") as look:
            found = look.queue(queue)
            if found is None:
                raise click.ClickException(f"404 NOT_FOUND - no queue '{queue}' in vhost '{look.vhost.name}'")
            if look.is_foreign(found):
                raise click.ClickException(
                    f"queue '{queue}' is a kernel queue of another program; there is no way to look without taking"
                )
            for one in look.peek(found, count):
                show(one.body, one.exchange, one.routing_key, one.redelivered, one.properties, as_json)
        return
    with place.channel() as channel:
        for method, properties, body in gets(channel, queue, count):
            show(body, method.exchange, method.routing_key, method.redelivered, properties, as_json)
        channel.close()  # what was not acknowledged goes back


def gets(channel: Any, queue: str, count: int | None) -> Iterable[tuple[Any, Any, bytes]]:
    """Up to ``count`` messages by basic.get; None: all."""
    while count is None or count > 0:
        method, properties, body = channel.basic_get(queue)
        if method is None:
            return
        yield method, properties, body
        count = None if count is None else count - 1


@click.command(short_help="Take messages out of a queue.")
@click.argument("queue")
@click.option("--count", "-n", type=click.IntRange(1), default=1, show_default=True, help="At most so many.")
@click.option("--all", "every", is_flag=True, help="All that are there.")
@json_option
@with_place
def get(place: Place, queue: str, count: int, every: bool, as_json: bool) -> None:
    """Take messages out of QUEUE and print them. Exit code 3: there was none.

    Each is acknowledged after it was printed.
    """
    length = None if every else count
    with place.channel() as channel, progress("getting", length, quiet=sys.stdout.isatty()) as bar:
        for method, properties, body in gets(channel, queue, length):
            show(body, method.exchange, method.routing_key, method.redelivered, properties, as_json)
            channel.basic_ack(method.delivery_tag)
            bar.step()
    if not bar.done:
        sys.exit(NOTHING)


@click.command(short_help="Print messages as they come.")
@click.argument("queue", required=False)
@click.option("--exchange", "-e", metavar="NAME", help="A copy of what this exchange routes, instead of a queue.")
@click.option(
    "--key", "-k", "keys", multiple=True, metavar="KEY", help="With --exchange: the binding key.  [default: #]"
)
@click.option("--count", "-n", type=click.IntRange(1), help="End after so many.")
@click.option("--idle", type=float, metavar="SECONDS", help="End when nothing has come for so long.")
@json_option
@with_place
def consume(
    place: Place,
    queue: str | None,
    exchange: str | None,
    keys: tuple[str, ...],
    count: int | None,
    idle: float | None,
    as_json: bool,
) -> None:
    """Take messages out of QUEUE as they come and print them, until Ctrl-C.

    With --exchange nothing is taken: it prints a copy of what the exchange routes from now on. Name the keys
    (--key) of a direct exchange; # is everything of a topic exchange.
    """
    if (queue is None) == (exchange is None):
        raise click.UsageError("Give QUEUE or --exchange.")
    with place.channel() as channel, progress("consuming", count, quiet=sys.stdout.isatty()) as bar:
        if exchange is not None:
            queue = channel.queue_declare("", exclusive=True).method.queue
            for key in keys or ("#",):
                channel.queue_bind(queue, exchange, key)
        channel.basic_qos(prefetch_count=100 if count is None else min(count, 100))
        try:
            for method, properties, body in channel.consume(queue, inactivity_timeout=idle):
                if method is None:
                    break
                show(body, method.exchange, method.routing_key, method.redelivered, properties, as_json)
                channel.basic_ack(method.delivery_tag)
                bar.step()
                if bar.done == count:
                    break
            channel.cancel()
        except KeyboardInterrupt:
            channel.cancel()

"""``haypile list``: queues, exchanges, bindings, consumers, connections.

Owns: the columns that are shown, tables and JSON.
Must not know: where the rows come from (``admin.looking``).
"""

from __future__ import annotations

import json
from typing import Any

import click

from haypile.cli.place import Place, with_place

#: What is shown unless --columns says otherwise.
SHOWN: dict[str, tuple[str, ...]] = {
    "queues": ("name", "messages_ready", "messages_unacknowledged", "consumers", "memory", "lane_depth", "state"),
    "exchanges": ("name", "type"),
    "bindings": (
        "source_name",
        "source_kind",
        "destination_name",
        "destination_kind",
        "routing_key",
        "arguments",
    ),
    "consumers": ("queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"),
    "connections": ("pid", "user", "state", "unacknowledged", "consumers"),
}
#: What a passive declaration tells of a RabbitMQ's queue.
OVER_AMQP: tuple[str, ...] = ("name", "messages_ready", "consumers")
INSTEAD = "use rabbitmqctl list_{what} there"


@click.group("list", short_help="Queues, exchanges, bindings, consumers, connections.")
def listing() -> None:
    """List what is in a vhost, with the columns of rabbitmqctl.

    For example: haypile list queues --url posix:///shop
    """


def make(what: str, about: str, epilog: str = "") -> None:
    """The command ``list WHAT``."""

    @listing.command(what, help=f"{about}\n\n{epilog}", short_help=about)
    @click.option("--json", "as_json", is_flag=True, help="All columns, as a JSON array.")
    @click.option("--columns", "-c", metavar="NAMES", help="These columns, comma-separated.")
    @click.argument("names", nargs=-1)
    @with_place
    def command(place: Place, as_json: bool, columns: str | None, names: tuple[str, ...]) -> None:
        if what == "queues" and names and not place.here:
            rows = over_amqp(place, names)
            shown = known = OVER_AMQP
        else:
            rows, known = local_rows(place, what)
            shown = SHOWN[what]
            if names:
                rows = [row for row in rows if row[known[0]] in names]
                missing = set(names) - {row[known[0]] for row in rows}
                if missing:
                    raise click.ClickException(f"there is nothing called {', '.join(map(repr, sorted(missing)))}")
        if columns is not None:
            shown = tuple(name.strip() for name in columns.split(","))
            unknown = set(shown) - set(known)
            if unknown:
                raise click.BadParameter(
                    f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}", param_hint="--columns"
                )
        print_rows(rows, shown, known if columns is None else shown, as_json)


def local_rows(place: Place, what: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """All rows, and the names of their columns."""
    from haypile.admin.looking import COLUMNS  # noqa: PLC0415 - the broker is not needed for --help

    with place.look(f"list {what}", INSTEAD.format(what=what)) as look:
        return look.rows(what), COLUMNS[what]


def over_amqp(place: Place, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Of queues whose names are known AMQP tells a little."""
    with place.channel() as channel:
        found = [channel.queue_declare(name, passive=True).method for name in names]
    return [dict(zip(OVER_AMQP, (one.queue, one.message_count, one.consumer_count), strict=True)) for one in found]


def print_rows(
    rows: list[dict[str, Any]], shown: tuple[str, ...], in_json: tuple[str, ...], as_json: bool
) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        click.echo(json.dumps([{name: row[name] for name in in_json} for row in rows], indent=2, default=str))
        return
    cells = [[text(row[name]) for name in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(shown, *cells, strict=True)]
    for line in (shown, *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def text(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(value, default=str) if value else ""
    return str(value)


make("queues", "Queues and how many messages they have.", "Of a RabbitMQ name the queues: AMQP cannot list them.")
make("exchanges", "Exchanges and their types.")
make("bindings", "Which exchange leads to which queue.")
make("consumers", "Who consumes from which queue.")
make("connections", "Who is connected: one row a connection.")

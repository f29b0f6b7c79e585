"""``haypile declare, bind, unbind, delete, purge``: making and removing what a vhost has.

Owns: the options; what is asked before something is destroyed.
Must not know: where the vhost is (``place``).
"""

from __future__ import annotations

from typing import Any

import click

from haypile.cli.messages import parse_headers
from haypile.cli.place import Place, confirm, with_place, yes_option

arguments_option = click.option(
    "--argument", "-a", "arguments", multiple=True, metavar="NAME=VALUE", help="x-message-ttl=60000 …; may be repeated."
)
durable_option = click.option("--durable/--transient", default=True, show_default=True)
auto_delete_option = click.option("--auto-delete", is_flag=True, help="Goes when its last user goes.")


@click.group(short_help="Declare a queue or an exchange.")
def declare() -> None:
    """Declare a queue or an exchange. Nothing happens when it is there and the same."""


@declare.command("queue")
@click.argument("name")
@durable_option
@auto_delete_option
@arguments_option
@with_place
def declare_queue(place: Place, name: str, durable: bool, auto_delete: bool, arguments: tuple[str, ...]) -> None:
    """Declare queue NAME.

    For example: haypile declare queue tasks -a x-message-ttl=60000
    """
    with place.channel() as channel:
        channel.queue_declare(name, durable=durable, auto_delete=auto_delete, arguments=parse_headers(arguments))


@declare.command("exchange")
@click.argument("name")
@click.option("--type", "-t", "kind", default="direct", show_default=True, help="direct, fanout, topic, headers …")
@durable_option
@auto_delete_option
@arguments_option
@with_place
def declare_exchange(
    place: Place, name: str, kind: str, durable: bool, auto_delete: bool, arguments: tuple[str, ...]
) -> None:
    """Declare exchange NAME."""
    with place.channel() as channel:
        made = parse_headers(arguments)
        channel.exchange_declare(name, kind, durable=durable, auto_delete=auto_delete, arguments=made)


def binding(verb: str, help_text: str) -> Any:
    """The command ``bind`` or ``unbind``."""

    @click.command(verb, help=help_text, short_help=help_text.partition(".")[0] + ".")
    @click.argument("source")
    @click.argument("destination")
    @click.option("--key", "-k", default="", metavar="KEY", help="The routing key.  [default: empty]")
    @click.option("--to-exchange", is_flag=True, help="DESTINATION is an exchange.")
    @arguments_option
    @with_place
    def command(
        place: Place, source: str, destination: str, key: str, to_exchange: bool, arguments: tuple[str, ...]
    ) -> None:
        with place.channel() as channel:
            act = getattr(channel, f"{'exchange' if to_exchange else 'queue'}_{verb}")
            act(destination, source, routing_key=key, arguments=parse_headers(arguments))

    return command


bind = binding("bind", "Lead messages of exchange SOURCE to queue DESTINATION.")
unbind = binding("unbind", "Undo a bind. SOURCE, DESTINATION, key and arguments are as they were bound.")


@click.group(short_help="Delete a queue or an exchange.")
def delete() -> None:
    """Delete a queue or an exchange. Asks before, or takes --yes."""


@delete.command("queue")
@click.argument("name")
@click.option("--if-unused", is_flag=True, help="Only when it has no consumers.")
@click.option("--if-empty", is_flag=True, help="Only when it has no messages.")
@yes_option
@with_place
def delete_queue(place: Place, name: str, if_unused: bool, if_empty: bool, yes: bool) -> None:
    """Delete queue NAME with its messages, and print how many they were."""
    with place.channel() as channel:
        count = channel.queue_declare(name, passive=True).method.message_count
        confirm(f"Delete queue {name!r} with {count} messages?", yes)
        click.echo(channel.queue_delete(name, if_unused=if_unused, if_empty=if_empty).method.message_count)


@delete.command("exchange")
@click.argument("name")
@click.option("--if-unused", is_flag=True, help="Only when nothing is bound to it.")
@yes_option
@with_place
def delete_exchange(place: Place, name: str, if_unused: bool, yes: bool) -> None:
    """Delete exchange NAME with its bindings."""
    with place.channel() as channel:
        channel.exchange_declare(name, passive=True)
        confirm(f"Delete exchange {name!r}?", yes)
        channel.exchange_delete(name, if_unused=if_unused)


@click.command(short_help="Remove the ready messages of a queue.")
@click.argument("queue")
@yes_option
@with_place
def purge(place: Place, queue: str, yes: bool) -> None:
    """Remove the ready messages of QUEUE, and print how many they were."""
    with place.channel() as channel:
        count = channel.queue_declare(queue, passive=True).method.message_count
        confirm(f"Remove {count} messages from queue {queue!r}?", yes)
        click.echo(channel.queue_purge(queue).method.message_count)

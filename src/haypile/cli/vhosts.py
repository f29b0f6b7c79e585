"""``haypile vhosts`` and ``haypile reset``: the vhosts of this host, and their removal.

Owns: what is shown and asked.
Must not know: how a vhost is removed (``admin.removal``).
"""

from __future__ import annotations

import json

import click

from haypile import targets
from haypile.cli.place import Place, confirm, failures, with_place, yes_option


@click.command(short_help="The vhosts of this host.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def vhosts(as_json: bool) -> None:
    """List your vhosts on this host: transport, name, connections, directory.

    A vhost is made by the first connection to it. HAYPILE_DIR says where they are.
    """
    from haypile.admin import removal  # noqa: PLC0415 - the broker is not needed for --help
    from haypile.cli.listing import print_rows  # noqa: PLC0415

    columns = ("transport", "name", "connections", "directory")
    with failures():
        rows = [
            {
                "transport": found.transport,
                "name": found.name,
                "connections": removal.connections(found.directory),
                "directory": str(found.directory),
            }
            for found in removal.vhosts(targets.base_directory())
        ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_rows(rows, columns, columns, False)


@click.command(short_help="Remove a vhost with all it holds.")
@click.option("--force", is_flag=True, help="Although somebody is connected, who loses the connection.")
@yes_option
@with_place
def reset(place: Place, force: bool, yes: bool) -> None:
    """Remove a vhost: its queues, exchanges, policies, messages, kernel queues and journal.

    The next connection finds an empty one. Name the vhost with --url or --vhost.
    """
    from haypile.admin import removal  # noqa: PLC0415 - as above

    target = place.needs_here("remove a vhost", "use rabbitmqctl delete_vhost there")
    confirm(f"Remove vhost {target.vhost!r} ({target.directory}) with all it holds?", yes)
    with failures():
        try:
            count = removal.remove(target, force=force)
        except removal.InUse as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"removed vhost {target.vhost!r} and {count} kernel queues", err=True)

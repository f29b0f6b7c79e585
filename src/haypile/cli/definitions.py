"""``haypile definitions``: a vhost's topology in RabbitMQ's own file format.

Owns: the commands' options, which vhosts they mean, and what they print.
Must not know: the file's shape (``haypile.definitions``).
"""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

import click
import pika.exceptions

from haypile import targets
from haypile.cli.place import Place, decode, failures, url_option
from haypile.cli.progress import progress


@click.group(short_help="Topology to and from RabbitMQ's definitions files.")
def definitions() -> None:
    """Queues, exchanges, bindings, policies and limits, as rabbitmqctl export_definitions writes them."""


@definitions.command("export")
@click.option("--vhost", "-p", "vhosts", multiple=True, help="Only this one; may be repeated. Default: all there are.")
@click.option("--sysv", is_flag=True, help="Of the vhosts over System V queues.")
@url_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
def export_all(vhosts: tuple[str, ...], sysv: bool, url: str | None, file: Path) -> None:
    """Write FILE (default: standard output) for rabbitmqctl import_definitions, or for haypile's own import.

    Of the vhost that --url names; without it of all there are.
    """
    from haypile import definitions as format_of  # noqa: PLC0415
    from haypile.admin import removal  # noqa: PLC0415 - the broker is not needed for --help

    transport = "sysv" if sysv else "posix"
    found = format_of.empty()
    if url is not None and not vhosts and not sysv:
        places = [Place(url, None)]
    else:
        with failures():
            known = removal.vhosts(targets.base_directory())
            names = vhosts or [one.name for one in known if one.transport == transport]
        places = [Place(f"{transport}:///{urllib.parse.quote(name, safe='')}", name) for name in names]
    for place in places:
        with place.session("definitions", "export definitions", "use rabbitmqctl export_definitions there") as session:
            format_of.add_vhost(found, session.vhost.name, session.vhost.topology)
    with click.open_file(str(file), "w") as output:
        json.dump(found, output, indent=1)
        output.write("\n")


@definitions.command("import")
@click.option(
    "--url",
    metavar="URL",
    envvar=targets.URL_VARIABLE,
    help="Where to declare them, a RabbitMQ by AMQP, say.  [default: $HAYPILE_URL, or the file's vhosts by posix:///]",
)
@click.option("--vhost", "-p", help="Only this vhost of the file; also where a file of one vhost goes.")
@click.argument("file", type=click.File())
def import_all(url: str | None, vhost: str | None, file: Any) -> None:
    """Make what FILE (rabbitmqctl export_definitions, or haypile's own export) says.

    What exists stays. What differs from what exists is refused, as RabbitMQ does, and the command ends with 1.
    Users, passwords and permissions are passed over.
    """
    from haypile import definitions as format_of  # noqa: PLC0415

    try:
        found = format_of.parse(decode(file.read()), vhost or "/")
    except format_of.InvalidDefinitions as error:
        raise click.ClickException(str(error)) from error
    if vhost is not None:
        found = {name: contents for name, contents in found.items() if name == vhost}
        if not found:
            raise click.ClickException(f"the file says nothing of a vhost {vhost!r}")
    refused: list[str] = []
    for name, contents in found.items():
        refused += [f"vhost {name!r}, {text}" for text in _import_one(url, name, contents)]
        counts = ", ".join(f"{len(getattr(contents, part))} {part}" for part in ("exchanges", "queues", "bindings"))
        click.echo(f"vhost {name!r}: {counts}")
    for text in refused:
        click.echo(f"refused: {text}", err=True)
    if refused:
        raise click.exceptions.Exit(1)


def _import_one(url: str | None, name: str, contents: Any) -> list[str]:
    """One vhost of the file; returns what was refused."""
    from haypile import definitions as format_of  # noqa: PLC0415
    from haypile.fronts.blocking import BlockingConnection  # noqa: PLC0415
    from haypile.parameters import URLParameters  # noqa: PLC0415

    refused = []
    remote = url is not None and targets.parse_local(url) is None
    vhost_url = url or f"posix:///{urllib.parse.quote(name, safe='')}"
    if contents.rules and remote:
        refused.append("policies and limits are set by rabbitmqctl import_definitions, AMQP has no way")
    elif contents.rules:
        refused += _import_rules(vhost_url, name, contents.rules)
    try:
        connection = BlockingConnection(URLParameters(vhost_url, outright=True))
    except (pika.exceptions.AMQPError, OSError) as error:
        raise click.ClickException(f"vhost {name!r} cannot be reached: {error or type(error).__name__}") from error
    steps = len(contents.exchanges) + len(contents.queues) + len(contents.bindings)
    with connection, progress(f"vhost {name!r}", steps) as bar:
        return refused + format_of.declare(contents, connection, bar.step)


def _import_rules(url: str, name: str, rules: Any) -> list[str]:
    """Policies first, so that queues are right from their first message."""
    from haypile.broker import policies, ruling  # noqa: PLC0415

    refused = []
    with Place(url, name).session("definitions", "import policies", "") as session:
        for part in ("policies", "parameters"):
            for entry in rules.get(part, []):
                try:
                    for operator, one in policies.from_definitions({part: [entry]}, name):
                        ruling.set_policy(session, one, operator=operator)
                    limits = policies.limits_from_definitions({part: [entry]}, name)
                    if limits is not None:
                        ruling.set_limits(session, limits)
                except policies.InvalidPolicy as error:
                    refused.append(f"{part[:-1]} {entry.get('name')!r}: {error}")
    return refused

"""``haypile link``: store and forward between queues of this host and a RabbitMQ.

Owns: the commands' options and what they print.
Must not know: how links work (``haypile.links``).
"""

from __future__ import annotations

import functools
import json
import logging
import signal
import time
from pathlib import Path
from typing import Any

import click

from haypile import targets
from haypile.cli.place import Place, with_place
from haypile.cli.routes import file_option, load
from haypile.links import status as files

#: Links are of a vhost of this host; what is said where ``--url`` names a RabbitMQ.
HERE = ("run links", "name the vhost here that they begin or end in")


@click.group(short_help="Store and forward between here and a RabbitMQ.")
def link() -> None:
    """Links of the routes file, and those that bindings made."""


def site_of(place: Place, remotes: dict[str, str]) -> Any:
    """The vhost that the options name, with what its links need. Raises click.ClickException."""
    from haypile.fronts import select  # noqa: PLC0415, F401
    from haypile.links.runner import Site  # noqa: PLC0415
    from haypile.parameters import URLParameters  # noqa: PLC0415

    target = place.needs_here(*HERE)

    def remote(name: str) -> Any:
        return URLParameters(remotes[name], outright=True)

    local = functools.partial(URLParameters, targets.outright(target), outright=True)
    return Site(target.directory, target.vhost, local, remote)


@link.command("run")
@file_option
@click.option("--verbose", "-v", is_flag=True, help="Say every attempt.")
@click.argument("names", nargs=-1)
@with_place
def run(place: Place, file: Path | None, verbose: bool, names: tuple[str, ...]) -> None:
    """Run the links NAME… (default: all of the routes file, and those that bindings made) until Ctrl-C."""
    from haypile.links.runner import Runner  # noqa: PLC0415

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("haypile").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    found = load(file)
    plans = {plan.name: plan for plan in found.links}
    unknown = set(names) - plans.keys()
    if unknown:
        raise click.ClickException(f"{found.path} has no link {sorted(unknown)[0]!r}")
    runner = Runner(site_of(place, found.remotes), [plans[name] for name in names or plans])
    if names:
        runner.only = frozenset(names)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: runner.interrupt())
    click.echo(f"running {', '.join(names or plans) or 'links that bindings make'}")
    runner.run()


@link.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.argument("names", nargs=-1)
@with_place
def status(place: Place, as_json: bool, names: tuple[str, ...]) -> None:
    """Print state, lag, rate and last error of the links NAME… (default: all that ever ran)."""
    target = place.needs_here(*HERE)
    found = files.read_all(target.directory) if target.directory.is_dir() else {}
    for name in names:
        if name not in found:
            raise click.ClickException(f"no link {name!r} ever ran in vhost {target.vhost!r}")
    for name, one in found.items():
        if names and name not in names:
            continue
        click.echo(json.dumps(one) if as_json else line(one))


def line(one: dict[str, Any]) -> str:
    """A status for a person."""
    state = one["state"] if one["running"] else "not running"
    lag = "?" if one["lag"] is None else one["lag"]
    ago = max(time.time() - one["at"], 0)
    text = f"{one['name']}: {state}, lag {lag}, {one['rate']:g}/s, {one['moved']} moved ({one['from']} -> {one['to']})"
    if not one["running"]:
        text += f", seen {ago:.0f} s ago"
    if one["last_error"]:
        text += f"\n    last error: {one['last_error']}"
    return text


@link.command("forget")
@click.argument("name")
@with_place
def forget(place: Place, name: str) -> None:
    """Forget the link NAME that a binding made. Its queue stays, with what waits in it."""
    if not files.forget(place.needs_here(*HERE).directory, name):
        raise click.ClickException(f"no binding made a link {name!r}")



"""``haypile routes``: where names go, and why.

Owns: the command's options and what it prints.
Must not know: what rules mean (``haypile.routes``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from haypile import routes as rules
from haypile import targets


def load(file: Path | None) -> rules.Routes:
    """The routes file that an option or the environment names. Raises click.ClickException."""
    try:
        path = file or targets.find_routes()
        if path is None:
            raise click.ClickException(
                f"there is no routes file: set {targets.FILE_VARIABLE}, or write {targets.FILE_NAME} here"
            )
        return rules.load(path)
    except targets.TargetError as error:
        raise click.ClickException(str(error)) from error


def file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--routes``."""
    return click.option(
        "--routes",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"The routes file; default: {targets.FILE_VARIABLE}, else {targets.FILE_NAME} here.",
    )(command)


@click.group(short_help="Which names live here and which on a RabbitMQ.")
def routes() -> None:
    """Routes of hybrid connections."""


@routes.command("check")
@file_option
@click.option("--exchange", "-x", "kind", flag_value="exchange", help="The names are exchanges'.")
@click.option("--queue", "-q", "kind", flag_value="queue", default=True, help="The names are queues' (default).")
@click.argument("names", nargs=-1)
def check(file: Path | None, kind: str, names: tuple[str, ...]) -> None:
    """Check the routes file, and say where queues called NAME… go and why."""
    found = load(file)
    for name in names:
        click.echo(found.explain(kind, name))
    if not names:
        click.echo(
            f"{found.path}: right; {len(found.remotes)} remotes, {len(found.rules)} rules, {len(found.links)} links"
        )

"""``haypile completion``: completion of commands and options in a shell.

Owns: nothing but the way there; click writes the script.
Must not know: the commands.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="A script that completes commands in your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script for SHELL that completes haypile's commands and options.

    For bash: haypile completion bash >> ~/.bashrc
    """
    from haypile.cli.main import main  # noqa: PLC0415 - it loads this module

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "haypile", "_HAYPILE_COMPLETE").source())

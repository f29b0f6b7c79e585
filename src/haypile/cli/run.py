"""``haypile run``: an unmodified pika program over kernel queues.

Owns: the command's options.
Must not know: how pika is replaced (``swap``).
"""

from __future__ import annotations

import sys

import click

from haypile import swap, targets


@click.command(
    context_settings={"allow_interspersed_args": False},
    short_help="Run an unmodified pika program.",
)
@click.option("--url", metavar="URL", help="Where all its connections go: posix:///VHOST, amqp://…")
@click.option("-m", "module", is_flag=True, help="PROGRAM is a module's name, as with python -m.")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(url: str | None, module: bool, program: str, arguments: tuple[str, ...]) -> None:
    """Run PROGRAM, which says `import pika`, with its connections over kernel queues of this host.

    Without --url the program's own parameters decide: localhost is this host's kernel, any other host
    the RabbitMQ there.
    """
    if url is not None:
        try:
            targets.parse_local(url)
        except targets.TargetError as error:
            raise click.BadParameter(str(error), param_hint="--url") from error
    sys.stdout.flush()
    swap.run([*(["-m"] if module else []), program, *arguments], url)

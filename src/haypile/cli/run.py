"""``haypile run``: an unmodified pika program over kernel queues.

Owns: the command's options.
Must not know: how pika is replaced (``swap``), how the program is started (``launch``).
"""

from __future__ import annotations

import re
import sys

import click

# Not ``from haypile``: the package would be asked for a name first, and would ask pika.
import haypile.launch as launch

#: URLs that need no closer look, and so no import of pika.
PLAIN = re.compile(r"(posix|sysv):///[\w.-]*")


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
    if url is not None and not PLAIN.fullmatch(url):
        from haypile import targets  # noqa: PLC0415 - imports pika

        try:
            targets.parse_local(url)
        except targets.TargetError as error:
            raise click.BadParameter(str(error), param_hint="--url") from error
    sys.stdout.flush()
    launch.run([*(["-m"] if module else []), program, *arguments], url)

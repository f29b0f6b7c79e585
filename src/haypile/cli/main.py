"""The ``haypile`` command.

Owns: the group that the commands, one a file, belong to.
Must not know: what they do.
"""

from __future__ import annotations

import click

import haypile
from haypile.cli.definitions import definitions
from haypile.cli.doctor import doctor
from haypile.cli.link import link
from haypile.cli.move import move
from haypile.cli.policy import policy
from haypile.cli.routes import routes
from haypile.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(haypile.__version__, prog_name="haypile")
def main() -> None:
    """pika programs without a broker: RabbitMQ's behaviour over this host's kernel message queues."""


main.add_command(doctor)
main.add_command(definitions)
main.add_command(link)
main.add_command(move)
main.add_command(policy)
main.add_command(routes)
main.add_command(run)

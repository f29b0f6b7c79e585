"""The ``haypile`` command as people call it.

Owns: the commands, which load when they are called, one file a group; --verbose.
Must not know: what they do.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module

import click

#: Command: module and name of the function, and what ``haypile --help`` says.
COMMANDS = {
    "run": ("haypile.cli.run:run", "Run an unmodified pika program."),
    "list": ("haypile.cli.listing:listing", "Queues, exchanges, bindings, consumers, connections."),
    "top": ("haypile.cli.top:top", "Queues and their rates, live."),
    "peek": ("haypile.cli.messages:peek", "Look at messages, which stay in the queue."),
    "publish": ("haypile.cli.messages:publish", "Publish messages."),
    "get": ("haypile.cli.messages:get", "Take messages out of a queue."),
    "consume": ("haypile.cli.messages:consume", "Print messages as they come, of a queue or an exchange."),
    "trace": ("haypile.cli.trace:trace", "Every message published and delivered, live."),
    "declare": ("haypile.cli.topology:declare", "Declare a queue or an exchange."),
    "bind": ("haypile.cli.topology:bind", "Lead messages of an exchange to a queue."),
    "unbind": ("haypile.cli.topology:unbind", "Undo a bind."),
    "purge": ("haypile.cli.topology:purge", "Remove the ready messages of a queue."),
    "delete": ("haypile.cli.topology:delete", "Delete a queue or an exchange."),
    "move": ("haypile.cli.move:move", "Drain a queue to another vhost or to a RabbitMQ, or back."),
    "definitions": ("haypile.cli.definitions:definitions", "Export and import RabbitMQ's definitions."),
    "link": ("haypile.cli.link:link", "Links between queues here and a RabbitMQ."),
    "routes": ("haypile.cli.routes:routes", "Where names of a hybrid connection go."),
    "policy": ("haypile.cli.policy:policy", "Rules for queues by the pattern of their names."),
    "vhosts": ("haypile.cli.vhosts:vhosts", "The vhosts of this host."),
    "reset": ("haypile.cli.vhosts:reset", "Remove a vhost with all it holds."),
    "doctor": ("haypile.cli.doctor:doctor", "The kernel's limits, and what dead processes left."),
    "metrics": ("haypile.cli.metrics:metrics", "Counters and depths in Prometheus' format."),
    "completion": ("haypile.cli.completion:completion", "A script that completes commands in your shell."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called, not for the list of commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, name = found[0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def print_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the version and end."""
    if wanted and not ctx.resilient_parsing:
        import haypile  # noqa: PLC0415 - imports pika

        click.echo(f"haypile, version {haypile.__version__}")
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print the version."
)
@click.option("--verbose", "-v", count=True, help="Say what happens, on standard error; -vv says more.")
def main(verbose: int) -> None:
    """pika programs without a broker: RabbitMQ's behaviour over this host's kernel message queues.

    Every command takes --url: posix:///VHOST and sysv:///VHOST are vhosts of this host, amqp://… is a RabbitMQ. Exit
    codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to take.
    """
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
        logging.getLogger("haypile").setLevel(logging.INFO if verbose == 1 else logging.DEBUG)

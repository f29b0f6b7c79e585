"""``haypile policy``: policies, operator policies and limits of a vhost.

Owns: the command's options and what it prints.
Must not know: what policies do to queues (``broker.ruling``), which are valid (``broker.policies``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from haypile import targets

if TYPE_CHECKING:
    from haypile.broker.policies import Policy
    from haypile.broker.ports import VhostTarget
    from haypile.broker.session import Session


def target_of(url: str | None, vhost: str) -> VhostTarget:
    """The vhost that the options name. Raises click.BadParameter."""
    try:
        local = targets.LocalURL("posix", None) if url is None else targets.parse_local(url)
        if local is None:
            raise targets.TargetError(f"{url!r} is a RabbitMQ: its policies are set by rabbitmqctl set_policy")
        return targets.local_target(local, vhost)
    except targets.TargetError as error:
        raise click.BadParameter(str(error), param_hint="--url") from error


@contextmanager
def session_of(url: str | None, vhost: str) -> Iterator[Session]:
    """A session in that vhost."""
    # The broker is imported by the command that needs it, not by every command.
    from haypile.admin.quiet import quiet_session  # noqa: PLC0415
    from haypile.hay.errors import HayError  # noqa: PLC0415
    from haypile.lanes.errors import LaneError  # noqa: PLC0415

    try:
        with quiet_session(target_of(url, vhost), "policy") as session:
            yield session
    except (HayError, LaneError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def vhost_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--url`` and ``--vhost``."""
    command = click.option("--vhost", "-p", default="/", show_default=True, help="Where --url does not say.")(command)
    return click.option("--url", metavar="URL", envvar=targets.URL_VARIABLE, help="posix:///VHOST or sysv:///VHOST")(
        command
    )


operator_option = click.option("--operator", is_flag=True, help="Operator policies instead.")


def decode(text: str) -> Any:
    """JSON. Raises click.BadParameter."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}") from error


@click.group(short_help="Rules for queues by the pattern of their names.")
def policy() -> None:
    """Policies, operator policies and limits of a vhost, as RabbitMQ has them; they take effect at once."""


@policy.command("set", context_settings={"ignore_unknown_options": True})
@vhost_options
@operator_option
@click.option("--priority", type=int, default=0, show_default=True)
@click.option("--apply-to", default="all", show_default=True, help="queues, exchanges or all")
@click.argument("name")
@click.argument("pattern")
@click.argument("definition")
def set_one(
    url: str | None,
    vhost: str,
    operator: bool,
    priority: int,
    apply_to: str,
    name: str,
    pattern: str,
    definition: str,
) -> None:
    """Set policy NAME for what matches the regular expression PATTERN: DEFINITION is JSON.

    For example: haypile policy set short '^log' '{"max-length": 1000}'
    """
    from haypile.broker import ruling  # noqa: PLC0415
    from haypile.broker.policies import make_policy  # noqa: PLC0415

    with session_of(url, vhost) as session:
        one = make_policy(name, pattern, decode(definition), priority, apply_to, operator=operator)
        ruling.set_policy(session, one, operator=operator)


@policy.command("clear")
@vhost_options
@operator_option
@click.argument("name")
def clear_one(url: str | None, vhost: str, operator: bool, name: str) -> None:
    """Take policy NAME out."""
    from haypile.broker import ruling  # noqa: PLC0415

    with session_of(url, vhost) as session:
        if not ruling.clear_policy(session, name, operator=operator):
            raise click.ClickException(f"there is no policy {name!r}")


@policy.command("list")
@vhost_options
@operator_option
def list_all(url: str | None, vhost: str, operator: bool) -> None:
    """Print the policies, one a line, as JSON."""
    with session_of(url, vhost) as session:
        policies = session.vhost.topology.policies
        for one in (policies.operator if operator else policies.ordinary).values():
            click.echo(json.dumps(shown(one)))


def shown(one: Policy) -> dict[str, Any]:
    """A policy as a definitions file has it."""
    return {
        "name": one.name,
        "pattern": one.pattern,
        "apply-to": one.apply_to,
        "definition": one.definition,
        "priority": one.priority,
    }


@policy.command("limits")
@vhost_options
@click.argument("limits", required=False)
def limits_of(url: str | None, vhost: str, limits: str | None) -> None:
    """Set the vhost's LIMITS, JSON with max-queues and max-connections; without LIMITS, print them."""
    from haypile.broker import policies, ruling  # noqa: PLC0415

    with session_of(url, vhost) as session:
        if limits is None:
            click.echo(json.dumps(session.vhost.topology.policies.limits))
        else:
            ruling.set_limits(session, policies.check_limits(decode(limits)))


@policy.command("load")
@vhost_options
@click.argument("file", type=click.File())
def load(url: str | None, vhost: str, file: Any) -> None:
    """Set the policies, operator policies and limits of a RabbitMQ definitions FILE (JSON)."""
    from haypile.broker import policies, ruling  # noqa: PLC0415

    definitions = decode(file.read())
    with session_of(url, vhost) as session:
        for operator, found in policies.from_definitions(definitions, session.vhost.name):
            ruling.set_policy(session, found, operator=operator)
        limits = policies.limits_from_definitions(definitions, session.vhost.name)
        if limits is not None:
            ruling.set_limits(session, limits)

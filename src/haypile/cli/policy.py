"""``haypile policy``: policies, operator policies and limits of a vhost.

Owns: the command's options and what it prints.
Must not know: what policies do to queues (``broker.ruling``), which are valid (``broker.policies``).
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from haypile.cli.place import Place, decode, with_place

if TYPE_CHECKING:
    from haypile.broker.policies import Policy
    from haypile.broker.session import Session


def session_of(place: Place) -> AbstractContextManager[Session]:
    """A session in that vhost. Raises click.ClickException."""
    return place.session("policy", "set or list policies and limits", "use rabbitmqctl set_policy, list_policies there")


operator_option = click.option("--operator", is_flag=True, help="Operator policies instead.")


@click.group(short_help="Rules for queues by the pattern of their names.")
def policy() -> None:
    """Policies, operator policies and limits of a vhost, as RabbitMQ has them; they take effect at once."""


@policy.command("set", context_settings={"ignore_unknown_options": True})
@operator_option
@click.option("--priority", type=int, default=0, show_default=True)
@click.option("--apply-to", default="all", show_default=True, help="queues, exchanges or all")
@click.argument("name")
@click.argument("pattern")
@click.argument("definition")
@with_place
def set_one(
    place: Place,
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

    with session_of(place) as session:
        one = make_policy(name, pattern, decode(definition), priority, apply_to, operator=operator)
        ruling.set_policy(session, one, operator=operator)


@policy.command("clear")
@operator_option
@click.argument("name")
@with_place
def clear_one(place: Place, operator: bool, name: str) -> None:
    """Take policy NAME out."""
    from haypile.broker import ruling  # noqa: PLC0415

    with session_of(place) as session:
        if not ruling.clear_policy(session, name, operator=operator):
            raise click.ClickException(f"there is no policy {name!r}")


@policy.command("list")
@operator_option
@with_place
def list_all(place: Place, operator: bool) -> None:
    """Print the policies, one a line, as JSON."""
    with session_of(place) as session:
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
@click.argument("limits", required=False)
@with_place
def limits_of(place: Place, limits: str | None) -> None:
    """Set the vhost's LIMITS, JSON with max-queues and max-connections; without LIMITS, print them."""
    from haypile.broker import policies, ruling  # noqa: PLC0415

    with session_of(place) as session:
        if limits is None:
            click.echo(json.dumps(session.vhost.topology.policies.limits))
        else:
            ruling.set_limits(session, policies.check_limits(decode(limits)))


@policy.command("load")
@click.argument("file", type=click.File())
@with_place
def load(place: Place, file: Any) -> None:
    """Set the policies, operator policies and limits of a RabbitMQ definitions FILE (JSON)."""
    from haypile.broker import policies, ruling  # noqa: PLC0415

    definitions = decode(file.read())
    with session_of(place) as session:
        for operator, found in policies.from_definitions(definitions, session.vhost.name):
            ruling.set_policy(session, found, operator=operator)
        limits = policies.limits_from_definitions(definitions, session.vhost.name)
        if limits is not None:
            ruling.set_limits(session, limits)

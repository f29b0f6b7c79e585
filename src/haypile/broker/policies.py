"""Policies: rules for queues and exchanges by the pattern of their names, and limits of the vhost.

Owns: what a policy may say, which one holds for an entity, how operator policies and an entity's own
arguments are merged with it.
Must not know: rows' keys, who sets policies (``declare.policy``), who follows them (``ruling``).

https://www.rabbitmq.com/docs/parameters#policies; rabbit_policy.erl, rabbit_policies.erl,
rabbit_queue_type_util:args_policy_lookup, rabbit_classic_queue:capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from haypile.broker import terms
from haypile.broker.arguments import QueueArguments, check_max_age

Definition = dict[str, Any]

#: Hidden queues (direct reply-to): no queues to a RabbitMQ.
HIDDEN = "amq.rabbitmq.reply-to."
APPLY_TO = ("all", "queues", "exchanges")
#: Limits of a vhost that are kept.
LIMITS = ("max-connections", "max-queues")
#: rabbit_policies.erl: MAX_STREAM_MAX_SEGMENT_SIZE.
MAX_SEGMENT = 3_000_000_000

_STREAM = {"max-age", "stream-max-segment-size-bytes", "initial-cluster-size"}
#: Definitions that make a policy no policy for a queue type.
_UNSUPPORTED = {
    "classic": _STREAM | {"queue-leader-locator", "delivery-limit", "dead-letter-strategy"},
    "quorum": _STREAM | {"queue-mode"},
}
#: Of two numbers the smaller one holds.
_SMALLER = ("expires", "message-ttl", "max-length", "max-length-bytes", "delivery-limit")
#: The rest of what haypile's queues follow: an argument beats the policy.
_OWN_FIRST = ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow", "queue-mode")
#: In quorum queues the policy beats the argument.
_POLICY_FIRST = ("overflow", "expires")
#: What operators may say.
OPERATOR_KEYS = (
    "expires",
    "message-ttl",
    "max-length",
    "max-length-bytes",
    "max-in-memory-length",
    "max-in-memory-bytes",
    "delivery-limit",
)



class InvalidPolicy(ValueError):
    """A policy RabbitMQ would refuse; the text is its own."""


class Policy(NamedTuple):
    """One policy."""

    name: str
    pattern: str
    definition: Definition
    priority: int = 0
    apply_to: str = "all"

    @property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled (``re`` keeps it)."""
        return re.compile(self.pattern)

    @classmethod
    def checked(cls, name: str, pattern: str, definition: Definition, priority: int, apply_to: str) -> Policy:
        """A policy whose pattern is one. Raises ``re.error``."""
        re.compile(pattern)
        return cls(name, pattern, definition, priority, apply_to)


# -- what may be said -------------------------------------------------------------------------


def _natural(value: Any) -> bool:
    return type(value) is int and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _max_age(value: Any) -> bool:
    return isinstance(value, str) and value[:1].isdigit() and check_max_age(value, {}) is None


def _among(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values and not isinstance(value, bool)


#: Key: what is right, what RabbitMQ calls the value.
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alternate-exchange": (_text, "alternate exchange name"),
    "dead-letter-exchange": (_text, "dead letter exchange name"),
    "dead-letter-routing-key": (_text, "dead letter routing key"),
    "dead-letter-strategy": (_among("at-most-once", "at-least-once"), "dead letter strategy"),
    "message-ttl": (_natural, "message TTL"),
    "expires": (lambda value: _natural(value) and value > 0, "queue expiry"),
    "max-length": (_natural, "maximum length"),
    "max-length-bytes": (_natural, "maximum length in bytes"),
    "max-in-memory-length": (_natural, "maximum memory in bytes"),
    "max-in-memory-bytes": (_natural, "maximum memory in bytes"),
    "queue-mode": (_among("default", "lazy"), "queue-mode value"),
    "queue-version": (_among(1, 2), "queue-version value"),
    "overflow": (_among("drop-head", "reject-publish", "reject-publish-dlx"), "overflow value"),
    "delivery-limit": (_natural, "delivery limit"),
    "max-age": (_max_age, "max age"),
    "queue-leader-locator": (
        _among("client-local", "balanced", "random", "least-leaders"),
        "queue leader locator value",
    ),
    "initial-cluster-size": (_natural, "cluster size"),
    "stream-max-segment-size-bytes": (lambda value: _natural(value) and value <= MAX_SEGMENT, "segment size"),
}


def make_policy(
    name: str, pattern: str, definition: Any, priority: Any = 0, apply_to: Any = "all", *, operator: bool = False
) -> Policy:
    """A policy, checked as RabbitMQ checks it. Raises InvalidPolicy."""
    if type(priority) is not int:
        raise InvalidPolicy(f"{priority} priority must be a number")
    if apply_to not in APPLY_TO:
        raise InvalidPolicy(f"apply-to '{apply_to}' unrecognised; should be 'queues', 'exchanges' or 'all'")
    if not isinstance(definition, dict):
        raise InvalidPolicy(f"definition must be a dictionary: {definition}")
    if not definition:
        raise InvalidPolicy("no policy provided")
    for key, value in definition.items():
        if key not in _CHECKS or (operator and key not in OPERATOR_KEYS):
            raise InvalidPolicy(f"{key!r} is not a recognised policy setting")
        right, what = _CHECKS[key]
        if not right(value):
            shown = f'<<"{value}">>' if isinstance(value, str) else terms.show(terms.term(value))
            raise InvalidPolicy(f"{shown} is not a valid {what}")
    try:
        return Policy.checked(name, pattern, definition, priority, apply_to)
    except re.error as error:
        raise InvalidPolicy(f"{pattern!r} is no regular expression: {error}") from error


# -- which holds ------------------------------------------------------------------------------


class Policies:
    """The policies of a vhost, and its limits."""

    def __init__(self) -> None:
        self.ordinary: dict[str, Policy] = {}
        self.operator: dict[str, Policy] = {}
        #: ``LIMITS`` that are set; below 0: none.
        self.limits: dict[str, int] = {}

    def for_queue(self, name: str, kind: str) -> Definition:
        """What holds for queue ``name`` of type ``kind``."""
        if (not self.ordinary and not self.operator) or name.startswith(HIDDEN):
            return {}
        return self._merged("queues", name, _UNSUPPORTED.get(kind, set()))

    def of_queue(self, name: str, kind: str) -> Policy | None:
        """The ordinary policy that holds for queue ``name`` of type ``kind``."""
        return None if name.startswith(HIDDEN) else _best(self.ordinary, "queues", name, _UNSUPPORTED.get(kind, set()))

    def for_exchange(self, name: str) -> Definition:
        """What holds for exchange ``name``; nothing does for the default one."""
        if (not self.ordinary and not self.operator) or not name:
            return {}
        return self._merged("exchanges", name, set())

    def _merged(self, what: str, name: str, unsupported: set[str]) -> Definition:
        own = _match(self.ordinary, what, name, unsupported)
        merged = dict(own)
        for key, value in _match(self.operator, what, name, unsupported).items():
            merged[key] = min(own[key], value) if key in own else value
        return merged

    def limit(self, name: str) -> int | None:
        """One of ``LIMITS``; None: there is none."""
        found = self.limits.get(name, -1)
        return None if found < 0 else found


def _match(policies: dict[str, Policy], what: str, name: str, unsupported: set[str]) -> Definition:
    """Of the policies that match, the definition of the one with the highest priority."""
    best = _best(policies, what, name, unsupported)
    return best.definition if best is not None else {}


def _best(policies: dict[str, Policy], what: str, name: str, unsupported: set[str]) -> Policy | None:
    """Of the policies that match, the one with the highest priority."""
    best: Policy | None = None
    for policy in policies.values():
        if (
            policy.apply_to in ("all", what)
            and (best is None or policy.priority > best.priority)
            and policy.regex.search(name)
            and not unsupported & policy.definition.keys()
        ):
            best = policy
    return best


def merge(arguments: QueueArguments, definition: Definition, own: dict[str, Any]) -> QueueArguments:
    """A queue's parsed ``arguments`` (``own``: as declared), with what policies say."""
    changed: dict[str, Any] = {}
    for key in (*_SMALLER, *_OWN_FIRST):
        if key not in definition:
            continue
        value, mine = definition[key], own.get(f"x-{key}")
        if mine is not None:
            if arguments.type == "quorum" and key in _POLICY_FIRST:
                pass
            elif key in _SMALLER:
                value = min(value, mine)
            else:
                value = mine
        changed[key.replace("-", "_")] = value
    return arguments._replace(**changed) if changed else arguments


# -- limits, definitions ----------------------------------------------------------------------


def check_limits(limits: Any) -> dict[str, int]:
    """Limits as they are stored. Raises InvalidPolicy."""
    if not isinstance(limits, dict):
        raise InvalidPolicy(f"limits must be a dictionary: {limits}")
    for name, value in limits.items():
        if name not in LIMITS:
            raise InvalidPolicy(f"{name!r} is not a limit; there are {', '.join(LIMITS)}")
        if type(value) is not int:
            raise InvalidPolicy(f"{name} must be a number, not {value!r}")
    return dict(limits)


def from_definitions(definitions: Any, vhost: str) -> list[tuple[bool, Policy]]:
    """The policies for ``vhost`` in a RabbitMQ's definitions: whether it is an operator's, policy.

    Raises InvalidPolicy.
    """
    found = []
    try:
        parameters = [one for one in definitions.get("parameters", []) if one["component"] == "operator_policy"]
        for operator, one in (
            *((False, one) for one in definitions.get("policies", [])),
            *((True, {**one["value"], "name": one["name"], "vhost": one["vhost"]}) for one in parameters),
        ):
            if one.get("vhost", vhost) == vhost:
                policy = make_policy(
                    one["name"],
                    one["pattern"],
                    one["definition"],
                    one.get("priority", 0),
                    one.get("apply-to", "all"),
                    operator=operator,
                )
                found.append((operator, policy))
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidPolicy(f"these are no definitions of a RabbitMQ: {error}") from error
    return found


def limits_from_definitions(definitions: Any, vhost: str) -> dict[str, int] | None:
    """The limits of ``vhost`` in a RabbitMQ's definitions; None: they say nothing. Raises InvalidPolicy."""
    for one in definitions.get("parameters", []):
        if one.get("component") == "vhost-limits" and one.get("vhost") == vhost:
            return check_limits(one.get("value"))
    return None

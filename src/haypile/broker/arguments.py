"""Queue and consumer arguments: which there are, what RabbitMQ refuses, what they mean.

Owns: the tables of arguments per queue type, their validation in RabbitMQ's order
(rabbit_amqqueue:check_declare_arguments), and ``QueueArguments``, the parsed form.
Must not know: queues' rows, what carries a feature out.

Unknown ``x-`` arguments are accepted and kept, as RabbitMQ does; one that belongs to another
queue type is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from haypile.broker import terms, texts
from haypile.broker.errors import InternalError, PreconditionFailed
from haypile.broker.terms import show, term, type_name

Arguments = dict[str, Any]
#: Takes a value and all arguments; gives what RabbitMQ prints after the colon, None when it is fine.
Check = Callable[[Any, Arguments], "str | None"]

#: rabbit_misc:check_expiry: ten years, ms.
MAX_EXPIRY = 315_360_000_000
#: rabbit.hrl: MAX_SUPPORTED_PRIORITY.
MAX_PRIORITY = 255

#: Arguments of each queue type, in the order in which RabbitMQ compares them.
QUEUE_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "classic": (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    "quorum": (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
    "stream": (
        "x-max-length-bytes",
        "x-queue-type",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
    ),
}
CONSUMER_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "classic": ("x-cancel-on-ha-failover", "x-priority", "x-credit"),
    "quorum": ("x-priority", "x-credit"),
    "stream": ("x-stream-offset", "x-credit"),
}


def known(value: Any) -> str | None:
    """``value`` as text when it is a string."""
    return value if isinstance(value, str) else None


class QueueArguments(NamedTuple):
    """What a queue's arguments say. Only valid arguments are parsed."""

    #: ``classic``, ``quorum`` or ``stream``.
    type: str = "classic"
    #: Milliseconds without use after which the queue goes; None: never.
    expires: int | None = None
    #: Milliseconds a message may wait; None: for ever.
    message_ttl: int | None = None
    dead_letter_exchange: str | None = None
    #: None: the message's own routing keys.
    dead_letter_routing_key: str | None = None
    dead_letter_strategy: str = "at-most-once"
    #: Ready messages, None: no limit.
    max_length: int | None = None
    #: Sum of ready bodies, bytes.
    max_length_bytes: int | None = None
    #: ``drop-head``, ``reject-publish`` or ``reject-publish-dlx``.
    overflow: str = "drop-head"
    #: Highest priority; 0: priorities are ignored.
    max_priority: int = 0
    queue_mode: str = "default"
    single_active_consumer: bool = False
    #: Redeliveries of a quorum queue's message before it is dead-lettered; None: no limit.
    delivery_limit: int | None = None

    @classmethod
    def parse(cls, arguments: Arguments) -> QueueArguments:
        """The parsed form of arguments that ``check_queue_arguments`` accepted."""
        if not arguments:
            return DEFAULT
        get = arguments.get
        return cls(
            type=known(get("x-queue-type")) or "classic",
            expires=get("x-expires"),
            message_ttl=get("x-message-ttl"),
            dead_letter_exchange=get("x-dead-letter-exchange"),
            dead_letter_routing_key=get("x-dead-letter-routing-key"),
            dead_letter_strategy=get("x-dead-letter-strategy", "at-most-once"),
            max_length=get("x-max-length"),
            max_length_bytes=get("x-max-length-bytes"),
            overflow=get("x-overflow", "drop-head"),
            max_priority=get("x-max-priority", 0),
            queue_mode=get("x-queue-mode", "default"),
            single_active_consumer=get("x-single-active-consumer", False),
            delivery_limit=get("x-delivery-limit"),
        )


DEFAULT = QueueArguments()


# -- checks of single values ------------------------------------------------------------------


def _string(text: str) -> str:
    # rabbit_misc:format gives a list of characters, which ~p prints in quotes.
    return terms.quote(text)


def _unacceptable(value: Any) -> str:
    return f"{{unacceptable_type,{type_name(value)}}}"


def check_integer(value: Any, _: Arguments) -> str | None:
    """Any integer."""
    kind = type_name(value)
    return None if kind in terms.INTEGER_TYPES else _string(f"expected integer, got {kind}")


def check_boolean(value: Any, _: Arguments) -> str | None:
    """true or false."""
    return None if isinstance(value, bool) else _unacceptable(value)


def check_natural(value: Any, arguments: Arguments) -> str | None:
    """An integer from 0."""
    wrong = check_integer(value, arguments)
    if wrong is None and value < 0:
        return f"{{value_negative,{value}}}"
    return wrong


def check_positive(value: Any, arguments: Arguments) -> str | None:
    """An integer from 1."""
    wrong = check_natural(value, arguments)
    return f"{{value_zero,{value}}}" if wrong is None and value == 0 else wrong


def check_ttl(value: Any, arguments: Arguments) -> str | None:
    """Milliseconds (rabbit_misc:check_expiry)."""
    wrong = check_natural(value, arguments)
    return f"{{value_too_large,{value}}}" if wrong is None and value > MAX_EXPIRY else wrong


def check_expires(value: Any, arguments: Arguments) -> str | None:
    """Milliseconds, not 0."""
    wrong = check_integer(value, arguments)
    if wrong is None and value == 0:
        return f"{{value_zero,{value}}}"
    return check_ttl(value, arguments)


def check_priority(value: Any, arguments: Arguments) -> str | None:
    """0 to 255."""
    wrong = check_natural(value, arguments)
    return f"{{max_value_exceeded,{value}}}" if wrong is None and value > MAX_PRIORITY else wrong


def check_string(value: Any, _: Arguments) -> str | None:
    """Any string."""
    return None if isinstance(value, str) else _unacceptable(value)


def check_dead_letter_key(value: Any, arguments: Arguments) -> str | None:
    """A string, next to an exchange."""
    if not isinstance(value, str):
        return _unacceptable(value)
    return None if "x-dead-letter-exchange" in arguments else "routing_key_but_no_dlx_defined"


def one_of(wrong: str, *values: str) -> Check:
    """A check for one of ``values``; ``wrong`` is what RabbitMQ says about others."""

    def check(value: Any, _: Arguments) -> str | None:
        if not isinstance(value, str):
            return _unacceptable(value)
        return None if value in values else wrong.replace("VALUE", value)

    return check


def check_version(value: Any, arguments: Arguments) -> str | None:
    """1 or 2."""
    wrong = check_natural(value, arguments)
    if wrong is None and value not in (1, 2):
        return _string(f"unsupported queue version '{value}'")
    return wrong


def check_max_age(value: Any, _: Arguments) -> str | None:
    """Digits and one of Y M D h m s. Raises InternalError without digits, for so does RabbitMQ."""
    if not isinstance(value, str):
        return _unacceptable(value)
    unit = value.lstrip("0123456789")
    digits = value[: len(value) - len(unit)]
    if not digits:
        raise InternalError
    return None if int(digits) and unit in tuple("YMDhms") else "invalid_max_age"


check_queue_type = one_of(_string("unsupported queue type 'VALUE'"), "classic", "quorum", "stream")

#: Argument, check: RabbitMQ's declare_args().
_QUEUE_CHECKS: tuple[tuple[str, Check], ...] = (
    ("x-expires", check_expires),
    ("x-message-ttl", check_ttl),
    ("x-dead-letter-exchange", check_string),
    ("x-dead-letter-routing-key", check_dead_letter_key),
    ("x-dead-letter-strategy", one_of("invalid_dlx_strategy", "at-most-once", "at-least-once")),
    ("x-max-length", check_natural),
    ("x-max-length-bytes", check_natural),
    ("x-max-in-memory-length", check_natural),
    ("x-max-in-memory-bytes", check_natural),
    ("x-max-priority", check_priority),
    ("x-overflow", one_of("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx")),
    ("x-queue-mode", one_of(_string("unsupported queue mode 'VALUE'"), "default", "lazy")),
    ("x-queue-version", check_version),
    ("x-single-active-consumer", check_boolean),
    ("x-queue-type", check_queue_type),
    ("x-quorum-initial-group-size", check_positive),
    ("x-max-age", check_max_age),
    ("x-stream-max-segment-size-bytes", check_natural),
    ("x-initial-cluster-size", check_positive),
    (
        "x-queue-leader-locator",
        one_of("invalid_queue_locator_arg", "client-local", "balanced", "random", "least-leaders"),
    ),
)
_CONSUMER_CHECKS: tuple[tuple[str, Check], ...] = (
    ("x-priority", check_integer),
    ("x-cancel-on-ha-failover", check_boolean),
)


# -- whole tables -----------------------------------------------------------------------------


def check_queue_arguments(what: str, arguments: Arguments) -> str:
    """Raise what RabbitMQ raises for the arguments of a new queue; returns the queue's type.

    ``what`` is the queue as error texts name it (``texts.queue``). Raises PreconditionFailed, and
    InternalError where RabbitMQ falls over.
    """
    if not arguments:
        return "classic"
    _check(what, arguments, (("x-queue-type", check_queue_type),))
    kind = str(arguments.get("x-queue-type", "classic"))
    own = QUEUE_ARGUMENTS[kind]
    _check(what, arguments, [(name, check) for name, check in _QUEUE_CHECKS if name in own])
    _check_names(what, kind, arguments, QUEUE_ARGUMENTS)
    locator = arguments.get("x-queue-master-locator", "random")
    if kind == "classic" and locator not in ("min-masters", "client-local", "random"):
        # RabbitMQ does not check it, and then finds no module of that name.
        raise InternalError
    return kind


def check_consumer_arguments(what: str, kind: str, arguments: Arguments) -> None:
    """Raise what RabbitMQ raises for a consumer's arguments on a queue of type ``kind``."""
    if not arguments:
        return
    own = CONSUMER_ARGUMENTS[kind]
    _check(what, arguments, [(name, check) for name, check in _CONSUMER_CHECKS if name in own])
    _check_names(what, kind, arguments, CONSUMER_ARGUMENTS)
    if "x-credit" in arguments and not isinstance(arguments["x-credit"], dict):
        raise InternalError


def _check(what: str, arguments: Arguments, checks: Any) -> None:
    for name, check in checks:
        if name in arguments:
            wrong = check(arguments[name], arguments)
            if wrong is not None:
                raise PreconditionFailed(texts.invalid_argument(name, what, wrong))


def _check_names(what: str, kind: str, arguments: Arguments, table: dict[str, tuple[str, ...]]) -> None:
    others = {name for names in table.values() for name in names} - set(table[kind])
    for name in arguments:
        if name in others:
            raise PreconditionFailed(texts.argument_of_other_type(name, what, kind))


def check_equivalent(what: str, current: Arguments, received: Arguments, names: tuple[str, ...]) -> None:
    """Raise PreconditionFailed when one of ``names`` differs (rabbit_misc:assert_args_equivalence)."""
    if current == received and not current:
        return
    for name in names:
        old, new = current.get(name, MISSING), received.get(name, MISSING)
        if old is MISSING and new is MISSING:
            continue
        if old is MISSING or new is MISSING:
            # A classic queue may or may not say that it is one.
            if name == "x-queue-type" and "classic" in (old, new):
                continue
            raise PreconditionFailed(texts.inequivalent(name, what, _typed(new), _typed(old)))
        if term(old) != term(new):
            if isinstance(old, Decimal) or isinstance(new, Decimal):
                # RabbitMQ takes a decimal's two numbers for a type and a value, and falls over.
                raise InternalError
            raise PreconditionFailed(texts.inequivalent(name, what, plain(new), plain(old)))


class _Missing:
    """An argument that is not there."""


MISSING = _Missing()


def plain(value: Any) -> str:
    """A value in an "inequivalent arg" text."""
    if value is None:
        return "none"
    if isinstance(value, bytes):
        value = terms.as_text(value)
    return f"'{value}'" if isinstance(value, str) else f"'{show(term(value))}'"


def _typed(value: Any) -> str:
    if value is MISSING:
        return "none"
    shown = "'undefined'" if value is None else plain(value)
    return f"the value {shown} of type '{type_name(value)}'"

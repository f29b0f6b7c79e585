"""RabbitMQ's wording of explanations, as of 3.10.8.

Owns: every text that follows the code's name in a reply text.
Must not know: which code goes with it (the caller raises the class from ``errors``).

Each text was taken from a RabbitMQ 3.10.8 by provoking it; tests/texts holds the record.
"""

from __future__ import annotations

NO_PREVIOUS_QUEUE = "no previously declared queue"
DEFAULT_EXCHANGE = "operation not permitted on the default exchange"
TX_TO_CONFIRM = "cannot switch from tx to confirm mode"
CONFIRM_TO_TX = "cannot switch from confirm to tx mode"
NOT_TRANSACTIONAL = "channel is not transactional"
IMMEDIATE = "immediate=true"
FLOW_INACTIVE = "active=false"
RECOVER_WITHOUT_REQUEUE = "requeue=false"
SECOND_OPEN = "second 'channel.open' seen"
EXPECTED_OPEN = "expected 'channel.open'"
UNIMPLEMENTED = "unimplemented method"
#: 504: on channel 0, once the connection is open, for whatever is no method of an open connection.
WRONG_STATE = "unexpected method in connection state running"
NO_REPLY_CONSUMER = "fast reply consumer does not exist"
REPLY_CONSUMER_ACKS = "reply consumer cannot acknowledge"
REPLY_CONSUMER_SET = "reply consumer already set"


def queue(name: str, vhost: str) -> str:
    """A queue, as texts name it."""
    return f"queue '{name}' in vhost '{vhost}'"


def exchange(name: str, vhost: str) -> str:
    """An exchange, as texts name it."""
    return f"exchange '{name}' in vhost '{vhost}'"


# -- 403 --------------------------------------------------------------------------------------


def reserved_name(kind: str, name: str) -> str:
    """403: a new object whose name starts with ``amq.``; ``kind`` is queue or exchange."""
    return f"{kind} name '{name}' contains reserved prefix 'amq.*'"


def system_exchange(what: str) -> str:
    """403: deleting an exchange called ``amq.…``."""
    return f"deletion of system {what} not allowed"


def internal_exchange(what: str) -> str:
    """403: publishing to an internal exchange."""
    return f"cannot publish to internal {what}"


def exclusive_use(what: str) -> str:
    """403: consuming where an exclusive consumer is, or exclusively where others are."""
    return f"{what} in exclusive use"


# -- 404 --------------------------------------------------------------------------------------


def missing(what: str) -> str:
    """404: no such queue or exchange."""
    return f"no {what}"


def no_binding(key: str, source: str, destination: str) -> str:
    """404: RabbitMQ before 3.2 said so; kept for completeness."""
    return f"no binding {key} between {source} and {destination}"


# -- 405 --------------------------------------------------------------------------------------


def locked(what: str) -> str:
    """405: a queue exclusive to another connection."""
    return (
        f"cannot obtain exclusive access to locked {what}. It could be originally declared on another "
        "connection or the exclusive property value does not match that of the original declaration."
    )


# -- 406 --------------------------------------------------------------------------------------


def inequivalent(name: str, what: str, received: str, current: str) -> str:
    """406: a redeclaration that differs."""
    return f"inequivalent arg '{name}' for {what}: received {received} but current is {current}"


def invalid_argument(name: str, what: str, wrong: str) -> str:
    """406: an argument with a value RabbitMQ refuses."""
    return f"invalid arg '{name}' for {what}: {wrong}"


def argument_of_other_type(name: str, what: str, kind: str) -> str:
    """406: an argument of another queue type."""
    return f"invalid arg '{name}' for {what} of queue type rabbit_{kind}_queue"


def invalid_type(kind: str, name: str, what: str) -> str:
    """406: an exchange name (alternate, dead letter) that is no string."""
    return f"invalid type '{kind}' for arg '{name}' in {what}"


def invalid_property(name: str, what: str) -> str:
    """406: a flag the queue type does not allow."""
    return f"invalid property '{name}' for {what}"


def server_named(kind: str) -> str:
    """406: an empty name for a type whose queues need one."""
    return f"Cannot declare a server-named queue for type rabbit_{kind}_queue"


def in_use(what: str) -> str:
    """406: if_unused."""
    return f"{what} in use"


def not_empty(what: str) -> str:
    """406: if_empty."""
    return f"{what} not empty"


def get_from_single_active(what: str) -> str:
    """405: basic.get from a quorum queue with a single active consumer."""
    return (
        f"cannot obtain access to locked {what}. basic.get operations are not supported by quorum queues "
        "with single active consumer"
    )


def unknown_delivery_tag(tag: int) -> str:
    """406: a tag that was never given out, or settled already."""
    return f"unknown delivery tag {tag}"


def unknown_consumer_tag(tag: str) -> str:
    """406: basic.credit for nobody."""
    return f"unknown consumer tag '{tag}'"


def invalid_expiration(expiration: str, wrong: str) -> str:
    """406: an expiration property that is no number of milliseconds; see ``expiration_error``."""
    return f"invalid expiration '{expiration}': {wrong}"


def unknown_delivery_mode(mode: int) -> str:
    """406: neither transient (1) nor persistent (2)."""
    return f"invalid message: {{delivery_mode_unknown,{mode}}}"


def unacceptable_header(name: str, kind: str) -> str:
    """406: a CC or BCC header that is no array."""
    return f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}'


def user_id(claimed: str, actual: str) -> str:
    """406: a user_id property that is not the connection's user."""
    return f"user_id property set to '{claimed}' but authenticated user was '{actual}'"


def message_too_large(size: int, most: int) -> str:
    """406: a body beyond max_message_size."""
    return f"message size {size} is larger than configured max size {most}"


def queue_limit(name: str, vhost: str, limit: int) -> str:
    """406: max-queues of the vhost."""
    return f"cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached"


def header_too_large(size: int, most: int) -> str:
    """501: a content header frame of so many bytes, larger than a connection's frames may be."""
    return f"type 2, all octets = <<>>: {{frame_too_large,{size},{most}}}"


def ack_timeout(channel: int, milliseconds: int) -> str:
    """406: consumer_timeout."""
    return (
        f"delivery acknowledgement on channel {channel} timed out. Timeout value used: {milliseconds} ms. "
        "This timeout value can be configured, see consumers doc guide to learn more"
    )


def stream_queue(what: str) -> str:
    """406, haypile's own: a queue type that only a RabbitMQ has."""
    return invalid_argument("x-queue-type", what, '"streams need a RabbitMQ: haypile has classic and quorum queues"')


# -- 503, 504, 530, 540 -----------------------------------------------------------------------


def unknown_exchange_type(name: str) -> str:
    """503: a type nobody registered."""
    return f"unknown exchange type '{name}'"


def invalid_exchange_type(name: str) -> str:
    """503: a word RabbitMQ knows, but not as an exchange type."""
    return f"invalid exchange type '{name}'"


def reused_consumer_tag(tag: str) -> str:
    """530: a consumer tag that is taken on the channel."""
    return f"attempt to reuse consumer tag '{tag}'"


def vhost_not_found(vhost: str) -> str:
    """530: connection.open for a vhost that is not there."""
    return f"vhost {vhost} not found"


def quorum_delete(what: str, flag: str) -> str:
    """540: deleting a quorum queue with a condition; ``flag`` is if-unused or if-empty."""
    return f"cannot delete {what}. queue.delete operations with {flag} flag set are not supported by quorum queues"


def global_qos(what: str) -> str:
    """540: consuming from a quorum queue on a channel with a global prefetch limit."""
    return f"{what} does not support global qos"


def no_global_qos(what: str) -> str:
    """540: basic.qos with global=True on a channel that consumes from a quorum queue."""
    return f"{what} does not support global qos"


def vhost_refused(vhost: str, user: str) -> str:
    """530: connection.open for a vhost the user may not use."""
    return f"access to vhost '{vhost}' refused for user '{user}'"


def connection_limit(vhost: str, user: str, limit: int) -> str:
    """530: max-connections of the vhost."""
    return f"access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached"


def login_refused(mechanism: str) -> str:
    """403, on the connection: wrong user or password."""
    return f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."


def too_many_channels(opened: int, most: int) -> str:
    """530: more channels than channel_max."""
    return f"number of channels opened ({opened}) has reached the negotiated channel_max ({most})"


def prefetch_size(size: int) -> str:
    """540: basic.qos with a prefetch_size."""
    return f"prefetch_size!=0 ({size})"

"""Raw messages and ``x-kernel-queue``: what AMQP makes of a kernel queue of some other program.

Owns: the queue's arguments, what raw bytes and a number look like as a message, and back.
Must not know: how they are sent and received (``foreign``).

The number is a POSIX message's priority, which is the AMQP priority (and the header
``x-kernel-priority`` beyond 255), or a System V message's type, which is the property ``type``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.spec import Basic, BasicProperties

from haypile.broker import message, texts
from haypile.broker.bodies import is_apart
from haypile.broker.errors import PreconditionFailed
from haypile.broker.message import Message
from haypile.lanes import foreign
from haypile.lanes.foreign import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from haypile.broker.ports import Content
    from haypile.broker.session import Session
    from haypile.lanes.landing import Landed

_Deliver = Basic.Deliver
_new_delivery, _new_properties = _Deliver.__new__, BasicProperties.__new__
_NOTHING: dict[str, Any] = {}

KERNEL_QUEUE, MAXMSG, MSGSIZE = ARGUMENTS = ("x-kernel-queue", "x-kernel-maxmsg", "x-kernel-msgsize")
#: A priority beyond what AMQP's octet takes, and the mark of a body whose length was inferred after a
#: crash (``lanes.landing``), stand in these headers.
PRIORITY_HEADER, INFERRED_HEADER = "x-kernel-priority", "x-kernel-length-inferred"
#: What makes no sense where the messages are others'.
_REFUSED = (
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
)


# -- arguments --------------------------------------------------------------------------------


def is_foreign(arguments: dict[str, Any]) -> bool:
    """Whether a queue with these arguments is somebody else's kernel queue."""
    return KERNEL_QUEUE in arguments


def check_arguments(what: str, arguments: dict[str, Any]) -> None:
    """Raise PreconditionFailed (406) for arguments of a foreign queue that make no sense."""
    for name in (MAXMSG, MSGSIZE):
        value = arguments.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise PreconditionFailed(texts.invalid_argument(name, what, '"expected a number from 0"'))
        if value is not None and KERNEL_QUEUE not in arguments:
            raise PreconditionFailed(texts.invalid_argument(name, what, f'"needs {KERNEL_QUEUE}"'))
    if KERNEL_QUEUE not in arguments:
        return
    for name in _REFUSED:
        if name in arguments:
            raise PreconditionFailed(texts.invalid_argument(name, what, f'"not with {KERNEL_QUEUE}"'))
    if arguments.get("x-queue-type", "classic") != "classic":
        raise PreconditionFailed(texts.invalid_argument("x-queue-type", what, f'"not with {KERNEL_QUEUE}"'))
    try:
        address_of(arguments)
    except ValueError as error:
        raise PreconditionFailed(texts.invalid_argument(KERNEL_QUEUE, what, f'"{error}"')) from error


def address_of(arguments: dict[str, Any]) -> Address:
    """Which kernel queue. Raises ValueError."""
    text = arguments[KERNEL_QUEUE]
    if not isinstance(text, str):
        raise ValueError("expected posix:/NAME or sysv:KEY")
    return Address.parse(text, arguments.get(MAXMSG), arguments.get(MSGSIZE))


# -- messages ---------------------------------------------------------------------------------

_encoded: dict[tuple[int, int, bool], tuple[bytes, int]] = {}


def encoded_number(kind: int, number: int, inferred: bool) -> tuple[bytes, int]:
    """Properties, encoded, of a message with this priority or type; and its AMQP priority."""
    known = _encoded.get((kind, number, inferred))
    if known is not None:
        return known
    properties = BasicProperties()
    headers: dict[str, Any] = {}
    if kind == foreign.POSIX:
        properties.priority = min(number, 255)
        if number > 255:
            headers[PRIORITY_HEADER] = number
    else:
        properties.type = str(number)
    if inferred:
        headers[INFERRED_HEADER] = True
    if headers:
        properties.headers = headers
    if len(_encoded) >= message.CACHE_LIMIT:
        _encoded.clear()
    made = _encoded[kind, number, inferred] = message.encode_properties(properties), properties.priority or 0
    return made


def deliveries(queue: str, kind: int, found: Iterable[tuple[bytes, int]], consumer: str, last: int) -> list[Content]:
    """Deliveries to ``consumer``, after the tag ``last``, of messages from a foreign queue that are not to go back."""
    known, template = -1, _NOTHING
    made: list[Content] = []
    for body, number in found:
        if number != known:
            template, known = vars(message.decode_properties(encoded_number(kind, number, False)[0])), number
        last += 1
        properties = _new_properties(BasicProperties)
        properties.__dict__ = template.copy()
        if properties.headers is not None:
            properties.headers = dict(properties.headers)
        # A third less than calling the class.
        delivery = _new_delivery(_Deliver)
        delivery.consumer_tag, delivery.delivery_tag, delivery.redelivered = consumer, last, False
        delivery.exchange, delivery.routing_key = "", queue
        made.append((delivery, properties, body))
    return made


def message_of(session: Session, queue: str, body: bytes, kind: int, number: int, inferred: bool) -> Message:
    """A message that came from a foreign queue."""
    encoded, priority = encoded_number(kind, number, inferred)
    properties = message.decode_properties(encoded)
    return Message("", queue, properties, body, session.publisher.now(), session.id, priority, 0)


def record_of(session: Session, queue: str, landed: Landed) -> bytes:
    """The record in a slot of a landing, whole, of a queue of ours or of somebody else's.

    Empty where its body is not there any more: the message was settled.
    """
    if not landed.kind:
        record = message.trim(landed.record, session.nonce)
        return session.bodies.whole_or_nothing(record) if is_apart(record, session.nonce) else record
    found = message_of(session, queue, landed.record, landed.kind, landed.number, landed.inferred)
    return message.encode_message(found, session.nonce)


def number_of(kind: int, properties: BasicProperties | None) -> int:
    """Priority or type to send a message with.

    Raises PreconditionFailed (406) for a type that the kernel does not take.
    """
    if kind == foreign.POSIX:
        if properties is None:
            return 0
        number = (properties.headers or {}).get(PRIORITY_HEADER)
        if isinstance(number, int) and 0 <= number < 32_768:
            return number
        return properties.priority or 0
    text = properties.type if properties is not None else None
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise PreconditionFailed(
            f"PRECONDITION_FAILED - type '{text}' of a message for a System V queue is no number from 1"
        )
    return int(text)
